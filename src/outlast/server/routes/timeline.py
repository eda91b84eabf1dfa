"""What a run did: its journal, and what happened to it."""

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response

from outlast.engine.runs import JournalLine
from outlast.protocol.outcomes import Outcome
from outlast.protocol.timeline import (
    EventBody,
    EventsBody,
    JournalBody,
    JournalEntryBody,
)
from outlast.protocol.triggers import Triggered
from outlast.server.auth import authenticate
from outlast.server.contract import READ_RUN, promise
from outlast.server.routes.runs import require_run
from outlast.server.run_bodies import error_body
from outlast.server.services import services

_JSON = "application/json"
_LAST = 2**63 - 1

router = APIRouter(tags=["runs"])

_outcomes = msgspec.json.Decoder(Outcome)
_triggered = msgspec.json.Decoder(tuple[Triggered, ...])

After = Annotated[int, Query(ge=0, le=_LAST)]
EntryStatus = Literal["OPEN", "FINISHED", "FAILED", "ABANDONED"]


@router.get(
    "/api/outlast/v1/runs/{run_id}/journal", response_model=JournalBody, **promise(READ_RUN)
)
async def journal(request: Request, run_id: str) -> Response:
    """Return what a run called, in order, and what became of it."""
    caller, engine = await authenticate(request), services(request).engine
    run = await engine.runs.retrieve(caller.environment.id, run_id)
    require_run(caller, "read", run)
    lines = await engine.runs.journal(caller.environment.id, run_id)
    body = JournalBody(entries=tuple(map(_entry, lines)))
    return Response(body.to_json(), media_type=_JSON)


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


def _entry(line: JournalLine) -> JournalEntryBody:
    outcome = None if line.outcome is None else _outcomes.decode(line.outcome)
    runs = () if line.runs is None else _triggered.decode(line.runs)
    ids = tuple(one.run_id for one in runs if one.run_id)
    return JournalEntryBody(
        key=line.key,
        kind=line.kind,
        name=line.name,
        attempt=line.attempt,
        status=_status(line, outcome),
        preview=line.preview or None,
        runs=ids or None,
        error=None if outcome is None or outcome.error is None else error_body(outcome.error),
        created_at=line.created_at,
        finished_at=line.finished_at,
    )


def _status(line: JournalLine, outcome: Outcome | None) -> EntryStatus:
    if line.is_abandoned:
        return "ABANDONED"
    if outcome is None:
        return "OPEN"
    return "FINISHED" if outcome.ok else "FAILED"
