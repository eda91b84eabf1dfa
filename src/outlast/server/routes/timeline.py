"""What a run did: its journal, and what happened to it."""

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response
from msgspec import UNSET

from outlast.engine.runs import JournalLine
from outlast.protocol.body import iso
from outlast.protocol.outcomes import RunError
from outlast.protocol.timeline import (
    EventBody,
    EventsBody,
    JournalBody,
    JournalEntryBody,
    JournalErrorBody,
)
from outlast.protocol.triggers import Triggered
from outlast.server.auth import authenticate
from outlast.server.contract import READ_RUN, answer, promise, structs
from outlast.server.routes.runs import require_run
from outlast.server.run_bodies import error_body
from outlast.server.services import services

_JSON = "application/json"
_LAST = 2**63 - 1

router = APIRouter(tags=["runs"])

_encoder = msgspec.json.Encoder()
_triggered = msgspec.json.Decoder(tuple[Triggered, ...])
_errors = msgspec.json.Decoder(JournalErrorBody)

After = Annotated[int, Query(ge=0, le=_LAST)]
EntryStatus = Literal["OPEN", "FINISHED", "FAILED", "ABANDONED"]


@router.get(
    "/api/outlast/v1/runs/{run_id}/journal",
    **promise(READ_RUN, answers={200: answer("The journal", structs(JournalBody))}),
)
async def journal(request: Request, run_id: str) -> Response:
    """Return what a run called, in order, and what became of it."""
    caller, engine = await authenticate(request), services(request).engine
    run = await engine.runs.retrieve(caller.environment.id, run_id)
    require_run(caller, "read", run)
    lines = await engine.runs.journal(caller.environment.id, run_id)
    body = JournalBody(tuple(map(_entry, lines)))
    return Response(_encoder.encode(body), media_type=_JSON)


@router.get("/api/v1/runs/{run_id}/events", response_model=EventsBody, **promise(READ_RUN))
async def events(request: Request, run_id: str, after: After = 0) -> Response:
    """Return what happened to a run: rescues, moves to another version."""
    caller, engine = await authenticate(request), services(request).engine
    run = await engine.runs.retrieve(caller.environment.id, run_id)
    require_run(caller, "read", run)
    found = await engine.runs.events(caller.environment.id, run_id, after=after)
    body = EventsBody(
        events=tuple(
            EventBody(number=one.number, at=one.at, kind=one.kind, detail=one.detail)
            for one in found
        )
    )
    return Response(body.to_json(), media_type=_JSON)


class _End(msgspec.Struct, frozen=True):
    """What is read of an outcome here: not its value, which may be large."""

    ok: bool
    error: RunError | None = None


_ends = msgspec.json.Decoder(_End)


def _entry(line: JournalLine) -> JournalEntryBody:
    end = None if line.outcome is None else _ends.decode(line.outcome)
    runs = () if line.runs is None else _triggered.decode(line.runs)
    ids = tuple(one.run_id for one in runs if one.run_id)
    return JournalEntryBody(
        key=line.key,
        kind=line.kind,
        name=line.name,
        attempt=line.attempt,
        status=_status(line, end),
        preview=line.preview or UNSET,
        runs=ids or UNSET,
        error=UNSET if end is None or end.error is None else _error(end.error),
        created_at=iso(line.created_at),
        finished_at=UNSET if line.finished_at is None else iso(line.finished_at),
    )


def _error(error: RunError) -> JournalErrorBody:
    return _errors.decode(error_body(error).to_json())


def _status(line: JournalLine, end: _End | None) -> EntryStatus:
    if line.is_abandoned:
        return "ABANDONED"
    if end is None:
        return "OPEN"
    return "FINISHED" if end.ok else "FAILED"
