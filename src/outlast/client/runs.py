"""Runs: read, list, cancel, delete, and wait for their end."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import msgspec
from pydantic_core import to_json

from outlast.client.requests import Reply, Request, model, struct
from outlast.protocol.bodies import IdReply, MetadataReply, RunDetail, RunPage
from outlast.protocol.reports import TagsReply
from outlast.protocol.timeline import EventsBody, JournalBody, LogsBody

POLL_SECONDS = 20.0
"""How long the server holds a question for a run's end."""

_PENDING = 202


class EndError(msgspec.Struct, frozen=True, rename="camel"):
    """Why a run has no output."""

    message: str = ""
    name: str = "Error"
    stack_trace: str = ""
    causes: tuple[str, ...] = ()
    kind: str | None = None


class End(msgspec.Struct, frozen=True, rename="camel"):
    """A run that has ended; the output stays text, because the task's types read it."""

    id: str
    status: str
    task_identifier: str
    output: msgspec.Raw = msgspec.Raw(b"null")
    error: EndError | None = None


_ends = msgspec.json.Decoder(End)
_logs = struct(LogsBody)
_journal = struct(JournalBody)


def retrieve(run_id: str) -> Request[RunDetail]:
    """Return the request for everything about a run."""
    return Request("GET", f"/api/v3/runs/{_part(run_id)}", model(RunDetail))


def list_page(
    filters: Mapping[str, str], *, size: int, after: str | None, before: str | None = None
) -> Request[RunPage]:
    """Return the request for a page of runs, newest first. `filters` are named as on the wire."""
    query = [(f"filter{name}", value) for name, value in filters.items()]
    query.append(("page[size]", str(size)))
    if after is not None:
        query.append(("page[after]", after))
    if before is not None:
        query.append(("page[before]", before))
    return Request("GET", "/api/v1/runs", model(RunPage), query=tuple(query))


def cancel(run_id: str) -> Request[IdReply]:
    """Return the request that cancels a run and its children."""
    return Request("POST", f"/api/v2/runs/{_part(run_id)}/cancel", model(IdReply))


def resume(run_id: str) -> Request[IdReply]:
    """Return the request that lets a run that cannot replay go on with the current version."""
    return Request("POST", f"/api/outlast/v1/runs/{_part(run_id)}/resume", model(IdReply))


def delete(run_id: str) -> Request[IdReply]:
    """Return the request that deletes an ended run."""
    return Request("DELETE", f"/api/outlast/v1/runs/{_part(run_id)}", model(IdReply))


def update_metadata(run_id: str, values: Mapping[str, object]) -> Request[MetadataReply]:
    """Return the request that sets keys of a run's metadata; the others stay."""
    operations = [{"type": "set", "key": key, "value": value} for key, value in values.items()]
    body = to_json({"operations": operations})
    path = f"/api/v1/runs/{_part(run_id)}/metadata"
    return Request("PUT", path, model(MetadataReply), body=body)


def add_tags(run_id: str, tags: Sequence[str]) -> Request[TagsReply]:
    """Return the request that adds tags to a run."""
    body = msgspec.json.encode({"tags": list(tags)})
    return Request("POST", f"/api/v1/runs/{_part(run_id)}/tags", model(TagsReply), body=body)


def logs(run_id: str, after: int) -> Request[LogsBody]:
    """Return the request for what a run said after the line of this number."""
    path = f"/api/outlast/v1/runs/{_part(run_id)}/logs"
    return Request("GET", path, _logs, query=(("after", str(after)),))


def journal(run_id: str) -> Request[JournalBody]:
    """Return the request for what a run called, in order."""
    return Request("GET", f"/api/outlast/v1/runs/{_part(run_id)}/journal", _journal)


def events(run_id: str) -> Request[EventsBody]:
    """Return the request for what happened to a run: rescues, moves to another version."""
    return Request("GET", f"/api/v1/runs/{_part(run_id)}/events", model(EventsBody))


def end(run_id: str, seconds: float) -> Request[End | None]:
    """Return the request that waits for a run's end; None when the time passed before it."""

    def decode(reply: Reply) -> End | None:
        return None if reply.status == _PENDING else _ends.decode(reply.body)

    return Request(
        "GET",
        f"/api/outlast/v1/runs/{_part(run_id)}/result",
        decode,
        query=(("seconds", f"{seconds:g}"),),
        patience=seconds,
    )


def _part(text: str) -> str:
    return quote(text, safe="")
