"""Usage: what each task did by the week, and what is odd about it; errors, grouped."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response

from outlast.engine.engine import Engine
from outlast.engine.failures import ErrorGroup
from outlast.protocol.activity import (
    ErrorBody,
    ErrorHour,
    ErrorMark,
    ErrorPage,
    ErrorStatus,
    UsageBody,
)
from outlast.server.auth import authenticate
from outlast.server.contract import READ_ALL, WRITE_ALL, promise
from outlast.server.services import services
from outlast.server.spikes import spikes

MAX_WEEKS = 52
MAX_PAGE = 100
DAY = 86_400.0
_JSON = "application/json"

router = APIRouter(prefix="/api/outlast/v1", tags=["usage"])


@router.get("/usage", response_model=UsageBody, **promise(READ_ALL))
async def usage(request: Request, weeks: Annotated[int, Query(ge=1, le=MAX_WEEKS)] = 5) -> Response:
    """Return what ended by week and task, and which tasks do far more than usual."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require_whole("read")
    tallies = await engine.activity.by_week(caller.environment.id, weeks)
    body = UsageBody(
        weeks=tuple(sorted({tally.start for tally in tallies})),
        data=tuple(tallies),
        spikes=spikes(tallies, datetime.now(UTC)),
    )
    return Response(body.to_json(), media_type=_JSON)


@router.get("/errors", response_model=ErrorPage, **promise(READ_ALL))
async def list_errors(
    request: Request,
    status: ErrorStatus | None = None,
    task: Annotated[str | None, Query(max_length=512)] = None,
    after: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 25,
) -> Response:
    """List failures that look alike as one, the last to happen first, with their last 24 hours."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require_whole("read")
    environment = caller.environment.id
    rows = await engine.failures.groups(
        environment, status=status, task=task, after=after, limit=limit
    )
    body = ErrorPage(
        data=await _bodies(engine, environment, rows, DAY),
        next=rows[-1].fingerprint if len(rows) == limit else None,
    )
    return Response(body.to_json(), media_type=_JSON)


@router.get("/errors/{error_id}", response_model=ErrorBody, **promise(READ_ALL))
async def retrieve(request: Request, error_id: str) -> Response:
    """Return one group of failures with its last seven days."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require_whole("read")
    group = await engine.failures.group(caller.environment.id, error_id)
    [body] = await _bodies(engine, caller.environment.id, [group], 7 * DAY)
    return Response(body.to_json(), media_type=_JSON)


@router.post("/errors/{error_id}", response_model=ErrorBody, **promise(WRITE_ALL))
async def mark(request: Request, error_id: str, wanted: Annotated[ErrorMark, Body()]) -> Response:
    """Resolve failures until they happen again, ignore them for good, or open them."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require_whole("write")
    group = await engine.failures.mark(caller.environment.id, error_id, wanted.status)
    return Response(_body(group, ()).to_json(), media_type=_JSON)


async def _bodies(
    engine: Engine, environment: str, groups: Sequence[ErrorGroup], seconds: float
) -> tuple[ErrorBody, ...]:
    ids = [group.fingerprint for group in groups]
    hours: dict[str, list[ErrorHour]] = {name: [] for name in ids}
    for one in await engine.failures.hours(environment, ids, seconds):
        hours[one.fingerprint].append(ErrorHour(hour=one.hour, count=one.count))
    return tuple(_body(group, hours[group.fingerprint]) for group in groups)


def _body(group: ErrorGroup, hours: Sequence[ErrorHour]) -> ErrorBody:
    return ErrorBody(
        id=group.fingerprint,
        task=group.task,
        kind=group.kind,
        name=group.type,
        message=group.message,
        line=group.line or None,
        status=group.status,
        count=group.count,
        first_seen=group.first_at,
        last_seen=group.last_at,
        last_run=group.last_run,
        last_version=group.last_version,
        hours=tuple(hours),
    )
