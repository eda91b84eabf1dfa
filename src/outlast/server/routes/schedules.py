"""Schedules: made by key, changed, switched, deleted and listed; and the names of time zones."""

from datetime import datetime
from itertools import islice
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Query, Request, Response

from outlast.engine import cron
from outlast.engine.errors import InvalidRequest
from outlast.engine.schedules import MAX_PAGE, Plan, Schedule, ScheduleFilters
from outlast.engine.tenancy import Environment
from outlast.protocol.bodies import IdReply
from outlast.protocol.body import OffsetPagination
from outlast.protocol.schedules import (
    SCHEDULES_PATH,
    UPCOMING,
    Generator,
    ScheduleBody,
    ScheduleCreate,
    ScheduleEnvironment,
    ScheduleListPage,
    SchedulePlan,
    Timezones,
)
from outlast.server.auth import authenticate
from outlast.server.contract import OPEN, READ_ALL, WRITE_ALL, promise
from outlast.server.problems import Problem
from outlast.server.services import services

router = APIRouter(tags=["schedules"])

_JSON = "application/json"
_DEFAULT_PAGE = 20
_TYPES: dict[str, Literal["DEVELOPMENT", "STAGING", "PREVIEW", "PRODUCTION"]] = {
    "dev": "DEVELOPMENT",
    "stg": "STAGING",
    "preview": "PREVIEW",
    "prod": "PRODUCTION",
}


@router.post(SCHEDULES_PATH, response_model=ScheduleBody, **promise(WRITE_ALL))
async def create(request: Request, wanted: Annotated[ScheduleCreate, Body()]) -> Response:
    """Make a schedule, or change the one with this deduplication key."""
    caller = await authenticate(request)
    caller.require_whole("write")
    try:
        made = await services(request).engine.schedules.save(
            caller.environment.id, wanted.deduplication_key, _plan(wanted)
        )
    except InvalidRequest as error:
        raise _unfit(error) from None
    return _reply(made, caller.environment)


@router.get(SCHEDULES_PATH, response_model=ScheduleListPage, **promise(READ_ALL))
async def list_schedules(
    request: Request,
    *,
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
    per_page: Annotated[int, Query(alias="perPage", ge=1, le=MAX_PAGE)] = _DEFAULT_PAGE,
    task: Annotated[str | None, Query(alias="filter[task]", max_length=512)] = None,
    external_id: Annotated[str | None, Query(alias="filter[externalId]", max_length=512)] = None,
    key: Annotated[str | None, Query(alias="filter[deduplicationKey]", max_length=512)] = None,
) -> Response:
    """Return a page of schedules, oldest first."""
    caller = await authenticate(request)
    caller.require_whole("read")
    filters = ScheduleFilters(task=task, external_id=external_id, deduplication_key=key)
    found = await services(request).engine.schedules.page(
        caller.environment.id, filters, page=page, size=per_page
    )
    body = ScheduleListPage(
        data=tuple(_body(one, caller.environment) for one in found.schedules),
        pagination=OffsetPagination(
            current_page=page, total_pages=-(-found.count // per_page), count=found.count
        ),
    )
    return Response(body.to_json(), media_type=_JSON)


@router.get("/api/v1/timezones", response_model=Timezones, **promise(OPEN))
async def timezones(
    exclude_utc: Annotated[bool, Query(alias="excludeUtc")] = False,
) -> Response:
    """Return the names of all time zones; anybody may know them."""
    names = tuple(name for name in cron.timezones() if not (exclude_utc and name == "UTC"))
    return Response(Timezones(timezones=names).to_json(), media_type=_JSON)


@router.get(SCHEDULES_PATH + "/{schedule_id}", response_model=ScheduleBody, **promise(READ_ALL))
async def retrieve(request: Request, schedule_id: str) -> Response:
    """Return a schedule with its next ticks."""
    caller = await authenticate(request)
    caller.require_whole("read")
    found = await services(request).engine.schedules.retrieve(caller.environment.id, schedule_id)
    return _reply(found, caller.environment)


@router.put(
    SCHEDULES_PATH + "/{schedule_id}",
    response_model=ScheduleBody,
    **promise(WRITE_ALL),
)
async def update(
    request: Request, schedule_id: str, wanted: Annotated[SchedulePlan, Body()]
) -> Response:
    """Give a schedule another plan; one that code declares is changed there."""
    caller = await authenticate(request)
    caller.require_whole("write")
    try:
        changed = await services(request).engine.schedules.change(
            caller.environment.id, schedule_id, _plan(wanted)
        )
    except InvalidRequest as error:
        raise _unfit(error) from None
    return _reply(changed, caller.environment)


@router.delete(SCHEDULES_PATH + "/{schedule_id}", response_model=IdReply, **promise(WRITE_ALL))
async def delete(request: Request, schedule_id: str) -> Response:
    """Delete a schedule; its runs stay."""
    caller = await authenticate(request)
    caller.require_whole("write")
    await services(request).engine.schedules.delete(caller.environment.id, schedule_id)
    return Response(IdReply(id=schedule_id).to_json(), media_type=_JSON)


@router.post(
    SCHEDULES_PATH + "/{schedule_id}/activate",
    response_model=ScheduleBody,
    **promise(WRITE_ALL),
)
async def activate(request: Request, schedule_id: str) -> Response:
    """Turn a schedule on; what it missed while off is not made up for."""
    return await _switch(request, schedule_id, active=True)


@router.post(
    SCHEDULES_PATH + "/{schedule_id}/deactivate",
    response_model=ScheduleBody,
    **promise(WRITE_ALL),
)
async def deactivate(request: Request, schedule_id: str) -> Response:
    """Turn a schedule off."""
    return await _switch(request, schedule_id, active=False)


async def _switch(request: Request, schedule_id: str, *, active: bool) -> Response:
    caller = await authenticate(request)
    caller.require_whole("write")
    switched = await services(request).engine.schedules.switch(
        caller.environment.id, schedule_id, active=active
    )
    return _reply(switched, caller.environment)


def _plan(wanted: SchedulePlan) -> Plan:
    return Plan(
        task=wanted.task,
        cron=wanted.cron,
        timezone=wanted.timezone or "UTC",
        window=wanted.window,
        catchup=wanted.catchup or "latest",
        external_id=wanted.external_id,
        concurrency_key=wanted.concurrency_key,
    )


def _unfit(error: InvalidRequest) -> Problem:
    return Problem(422, "invalid_schedule", str(error), param=error.param)


def _reply(schedule: Schedule, environment: Environment) -> Response:
    return Response(_body(schedule, environment).to_json(), media_type=_JSON)


def _body(schedule: Schedule, environment: Environment) -> ScheduleBody:
    upcoming: list[datetime] = []
    if schedule.active:
        later = cron.occurrences(schedule.cron, schedule.timezone, schedule.next_at)
        upcoming = [schedule.next_at, *islice(later, UPCOMING - 1)]
    return ScheduleBody(
        id=schedule.id,
        type="DECLARATIVE" if schedule.kind == "declarative" else "IMPERATIVE",
        task=schedule.task,
        active=schedule.active,
        deduplication_key=schedule.deduplication_key,
        external_id=schedule.external_id,
        concurrency_key=schedule.concurrency_key,
        generator=Generator(expression=schedule.cron, description=cron.explain(schedule.cron)),
        timezone=schedule.timezone,
        window=schedule.time_window,
        catchup=schedule.catchup,
        next_run=schedule.next_at if schedule.active else None,
        next_run_effective_at=schedule.due_at if schedule.active else None,
        upcoming=tuple(upcoming),
        last_run=schedule.last_at,
        last_skip=schedule.last_skip,
        environments=(ScheduleEnvironment(id=environment.id, type=_TYPES[environment.slug]),),
    )
