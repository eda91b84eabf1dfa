"""Schedules: tasks that start by the clock. Declared in code, or made one by one for tenants."""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

import msgspec

from outlast.engine import cron
from outlast.engine.catalogue import MAX_TASK_CHARS, Catalogue
from outlast.engine.database import Database
from outlast.engine.errors import Conflict, InvalidRequest, NotFound
from outlast.engine.ids import Ids
from outlast.engine.queries import load
from outlast.protocol.schedules import Catchup

SCHEDULES = load("schedules")

MAX_KEY_CHARS = 512
MAX_PAGE = 100


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it stands. `next_at` is nominal; a window makes it due later."""

    id: str
    environment_id: str
    kind: Literal["declarative", "imperative"]
    task: str
    deduplication_key: str
    external_id: str | None
    concurrency_key: str | None
    cron: str
    timezone: str
    time_window: str | None
    catchup: Catchup
    active: bool
    next_at: datetime
    due_at: datetime
    last_at: datetime | None
    last_skip: str | None
    created_at: datetime
    updated_at: datetime


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a schedule starts, and when."""

    task: str
    cron: str
    timezone: str = "UTC"
    window: str | None = None
    catchup: Catchup = "latest"
    external_id: str | None = None
    concurrency_key: str | None = None


class ScheduleFilters(msgspec.Struct, frozen=True, kw_only=True):
    """Which schedules to list; fields are combined."""

    task: str | None = None
    external_id: str | None = None
    deduplication_key: str | None = None


class SchedulePage(msgspec.Struct, frozen=True):
    """One page of a list, oldest first; `count` is that of all pages."""

    schedules: tuple[Schedule, ...]
    count: int


class Schedules:
    """The schedules of all environments. Their ticks are `engine/ticks.py`."""

    def __init__(
        self,
        database: Database,
        *,
        ids: Ids,
        catalogue: Catalogue,
        clock: Callable[[], datetime | None] | None,
    ) -> None:
        self._database = database
        self._ids = ids
        self._catalogue = catalogue
        self._clock = clock

    async def save(self, environment_id: str, key: str, plan: Plan) -> Schedule:
        """Make the schedule with this deduplication key, or change it.

        Raises `InvalidRequest` for a plan that cannot be, a task that no version has included.
        """
        _check_key(key, "deduplicationKey")
        await self._check(environment_id, plan)
        schedule_id = self._ids.new("sched")
        next_at, due_at = await self._next(schedule_id, plan)
        made = await self._database.fetch_one(
            Schedule,
            SCHEDULES.save,
            id=schedule_id,
            environment=environment_id,
            key=key,
            next_at=next_at,
            due_at=due_at,
            **_values(plan),
        )
        assert made is not None
        return made

    async def change(self, environment_id: str, schedule_id: str, plan: Plan) -> Schedule:
        """Give a schedule another plan. Raises `NotFound`, `Conflict`, `InvalidRequest`."""
        await self._check(environment_id, plan)
        next_at, due_at = await self._next(schedule_id, plan)
        changed = await self._database.fetch_one(
            Schedule,
            SCHEDULES.change,
            id=schedule_id,
            environment=environment_id,
            next_at=next_at,
            due_at=due_at,
            **_values(plan),
        )
        return changed or await self._refuse(environment_id, schedule_id)

    async def switch(self, environment_id: str, schedule_id: str, *, active: bool) -> Schedule:
        """Turn a schedule on or off; what it missed while off is not made up for.

        Raises `NotFound`, `Conflict`.
        """
        known = await self.retrieve(environment_id, schedule_id)
        next_at, due_at = await self._next(known.id, plan_of(known))
        changed = await self._database.fetch_one(
            Schedule,
            SCHEDULES.switch,
            environment=environment_id,
            id=schedule_id,
            active=active,
            next_at=next_at,
            due_at=due_at,
        )
        return changed or await self._refuse(environment_id, schedule_id)

    async def delete(self, environment_id: str, schedule_id: str) -> None:
        """Delete a schedule; its runs stay. Raises `NotFound`, `Conflict`."""
        gone = await self._database.fetch_value(
            SCHEDULES.delete, environment=environment_id, id=schedule_id
        )
        if gone is None:
            await self._refuse(environment_id, schedule_id)

    async def retrieve(self, environment_id: str, schedule_id: str) -> Schedule:
        """Return a schedule. Raises `NotFound`."""
        found = None
        if "\0" not in schedule_id:
            found = await self._database.fetch_one(
                Schedule, SCHEDULES.retrieve, environment=environment_id, id=schedule_id
            )
        if found is None:
            raise NotFound(f"there is no schedule {schedule_id[:80]!r} in this environment")
        return found

    async def page(
        self, environment_id: str, filters: ScheduleFilters, *, page: int, size: int
    ) -> SchedulePage:
        """Return a page, the first is 1. Raises `InvalidRequest`."""
        if page < 1 or not 1 <= size <= MAX_PAGE:
            raise InvalidRequest(f"page begins at 1 and perPage is 1 to {MAX_PAGE}", param="page")
        wanted = {
            "environment": environment_id,
            "task": filters.task,
            "external_id": filters.external_id,
            "key": filters.deduplication_key,
        }
        found = await self._database.fetch(
            Schedule, SCHEDULES.page, limit=size, offset=(page - 1) * size, **wanted
        )
        count = await self._database.fetch_value(SCHEDULES.count, **wanted)
        assert isinstance(count, int)
        return SchedulePage(tuple(found), count)

    async def _next(self, schedule_id: str, plan: Plan) -> tuple[datetime, datetime]:
        now = await self._database.fetch_value(
            SCHEDULES.now, clock=self._clock() if self._clock is not None else None
        )
        assert isinstance(now, datetime)
        return next_tick(schedule_id, plan, now)

    async def _check(self, environment_id: str, plan: Plan) -> None:
        cron.check(plan.cron, plan.timezone, plan.window)
        if not 0 < len(plan.task) <= MAX_TASK_CHARS or "\0" in plan.task:
            raise InvalidRequest("task names a task by its id", param="task")
        for param, key in (
            ("externalId", plan.external_id),
            ("concurrencyKey", plan.concurrency_key),
        ):
            if key is not None:
                _check_key(key, param)
        offer = await self._catalogue.offer(environment_id)
        if offer is None or plan.task not in offer.tasks:
            offer = await self._catalogue.offer(environment_id, fresh=True)
        if offer is None or plan.task not in offer.tasks:
            raise InvalidRequest(
                f"no task {plan.task[:80]!r} in the current version; start a worker that has it",
                param="task",
            )

    async def _refuse(self, environment_id: str, schedule_id: str) -> Schedule:
        found = await self.retrieve(environment_id, schedule_id)
        raise Conflict(
            f"schedule {schedule_id} is declared in the code of task {found.task}; change it there"
        )


def next_tick(schedule_id: str, plan: Plan, after: datetime) -> tuple[datetime, datetime]:
    """Return the nominal time of the tick after a moment, and when it is due."""
    moments = cron.occurrences(plan.cron, plan.timezone, after)
    nominal = next(moments)
    return nominal, cron.effective(nominal, next(moments), plan.window, schedule_id)


def plan_of(schedule: Schedule) -> Plan:
    """Return the plan of a schedule."""
    return Plan(
        task=schedule.task,
        cron=schedule.cron,
        timezone=schedule.timezone,
        window=schedule.time_window,
        catchup=schedule.catchup,
        external_id=schedule.external_id,
        concurrency_key=schedule.concurrency_key,
    )


def _check_key(key: str, param: str) -> None:
    if not 0 < len(key) <= MAX_KEY_CHARS or "\0" in key:
        raise InvalidRequest(f"{param} has 1 to {MAX_KEY_CHARS} characters", param=param)


def _values(plan: Plan) -> dict[str, object]:
    return msgspec.structs.asdict(plan)
