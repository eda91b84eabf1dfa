"""Replays, reschedules and bulk actions."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import msgspec

from outlast.client import batches
from outlast.client.requests import Request, model
from outlast.protocol.bodies import IdReply, RunDetail
from outlast.protocol.bulk import BulkBody, BulkPage
from outlast.protocol.triggers import Trigger

_encoder = msgspec.json.Encoder()

_ASIDE = frozenset({"idempotencyKeyOptions", "fairnessGroup", "park", "debounce"})
"""Options that a replay does not take."""


def replay(run_id: str, changes: Trigger | None = None) -> Request[IdReply]:
    """Return the request that makes a run again. Of `changes`, what is set replaces the old."""
    body = {} if changes is None else _changes(changes)
    path = f"/api/v1/runs/{_part(run_id)}/replay"
    return Request("POST", path, model(IdReply), body=_encoder.encode(body))


def reschedule(run_id: str, delay: str) -> Request[RunDetail]:
    """Return the request that gives a delayed run another moment, as the wire writes it."""
    path = f"/api/v1/runs/{_part(run_id)}/reschedule"
    return Request("POST", path, model(RunDetail), body=_encoder.encode({"delay": delay}))


def begin_bulk(
    action: str,
    *,
    filters: Mapping[str, object] | None,
    run_ids: Sequence[str] | None,
    name: str | None,
) -> Request[IdReply]:
    """Return the request that begins a bulk action. `filters` are named as in its body."""
    body = {"action": action, "filter": filters, "runIds": run_ids, "name": name}
    given = {name: value for name, value in body.items() if value is not None}
    return Request("POST", _BULK, model(IdReply), body=_encoder.encode(given))


def retrieve_bulk(bulk_id: str) -> Request[BulkBody]:
    """Return the request for a bulk action with its progress."""
    return Request("GET", f"{_BULK}/{_part(bulk_id)}", model(BulkBody))


def list_bulk(*, size: int, after: str | None) -> Request[BulkPage]:
    """Return the request for a page of bulk actions, newest first."""
    query = [("page[size]", str(size))]
    if after is not None:
        query.append(("page[after]", after))
    return Request("GET", _BULK, model(BulkPage), query=tuple(query))


def abort_bulk(bulk_id: str) -> Request[IdReply]:
    """Return the request that stops a bulk action."""
    return Request("POST", f"{_BULK}/{_part(bulk_id)}/abort", model(IdReply))


_BULK = "/api/v1/bulk-actions"


def _changes(item: Trigger) -> dict[str, object]:
    options = batches.options_of(item)
    if item.payload is not None:
        options["payload"] = msgspec.Raw(item.payload.encode())
    else:
        del options["payloadType"]
    if "lockToVersion" in options:
        options["version"] = options.pop("lockToVersion")
    return {name: value for name, value in options.items() if name not in _ASIDE}


def _part(text: str) -> str:
    return quote(text, safe="")
