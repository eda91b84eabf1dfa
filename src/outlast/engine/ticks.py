"""The ticks of schedules: each makes one run, whatever server finds it due, and whenever one dies.

A server holds due schedules for a few seconds, triggers their runs and moves them on. The run's
request key names schedule and nominal time: who repeats what a dead server began finds its runs.
Nothing here holds the environment's row, so ten thousand ticks of one minute go through turns as
any other triggers do, beside those of everybody else.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice, takewhile

import msgspec

from outlast.engine import cron
from outlast.engine.catalogue import Catalogue
from outlast.engine.database import Database
from outlast.engine.errors import EngineError
from outlast.engine.ids import Ids
from outlast.engine.schedules import SCHEDULES, Plan, Schedule, next_tick, plan_of
from outlast.engine.tenancy import Environment, Tenancy
from outlast.engine.triggers import Triggers
from outlast.engine.turn import NewRun
from outlast.protocol.manifests import ScheduleManifest
from outlast.protocol.schedules import UPCOMING, ScheduledPayload
from outlast.protocol.triggers import Refusal, Trigger

logger = logging.getLogger(__name__)

PORTION = 250
"""Schedules of one environment that are taken at once."""
TENANTS = 20
"""Environments that are served at once: none waits behind the thousands of another."""
HOLD_SECONDS = 10.0
MOST_CAUGHT_UP = 1_000
"""Ticks that one schedule with `catchup="all"` makes up for; older ones are left out."""
LATE = timedelta(minutes=1)
"""A tick later than this was missed: `catchup` decides."""


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """A moment at which a schedule makes a run."""

    schedule: Schedule
    nominal: datetime
    previous: datetime | None


class _Advance(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    nominal: datetime
    next_at: datetime
    due_at: datetime
    last_at: datetime | None = None
    last_skip: str | None = None


class _Unsynced(msgspec.Struct, frozen=True):
    id: str
    slug: str
    version_id: str


class _Declared(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    task: str
    cron: str
    timezone: str
    time_window: str | None
    catchup: str
    next_at: datetime
    due_at: datetime


_encoder = msgspec.json.Encoder()


class Ticks:
    """The agent that runs on every server: declares what code declares, and fires what is due."""

    def __init__(
        self,
        database: Database,
        *,
        ids: Ids,
        tenancy: Tenancy,
        catalogue: Catalogue,
        triggers: Triggers,
        clock: Callable[[], datetime | None] | None,
        hold_seconds: float = HOLD_SECONDS,
    ) -> None:
        self._database = database
        self._ids = ids
        self._tenancy = tenancy
        self._catalogue = catalogue
        self._triggers = triggers
        self._clock = clock
        self._hold_seconds = hold_seconds
        self._passes = asyncio.Lock()  # when one returns, what another took has been fired too

    async def run_once(self) -> int:
        """Declare and fire until nothing is due; return how many ticks were taken."""
        async with self._passes:
            return await self._pass()

    async def _pass(self) -> int:
        await self.declare()
        taken = 0
        while due := await self._take():
            taken += len(due)
            now = await self._now()
            by_environment: dict[str, list[Schedule]] = {}
            for schedule in due:
                by_environment.setdefault(schedule.environment_id, []).append(schedule)
            await asyncio.gather(
                *(self._serve(environment, own, now) for environment, own in by_environment.items())
            )
        return taken

    async def declare(self) -> None:
        """Bring the schedules that current versions declare into the table."""
        for row in await self._database.fetch(_Unsynced, SCHEDULES.find_unsynced):
            with _alone("schedules not declared", environment=row.id, version=row.version_id):
                await self._declare(row)

    async def _declare(self, row: _Unsynced) -> None:
        offer = await self._catalogue.offer(row.id, fresh=True)
        if offer is None or offer.version.id != row.version_id:
            return  # another one became current in between
        now = await self._now()
        declared = [
            self._declared(task.id, task.schedule, now)
            for task in offer.tasks.values()
            if task.schedule is not None and _is_for(task.schedule, row.slug)
        ]
        async with self._database.transaction() as executor:
            await executor.execute(
                SCHEDULES.withdraw, environment=row.id, tasks=[one.task for one in declared]
            )
            await executor.execute(
                SCHEDULES.declare,
                environment=row.id,
                schedules=_encoder.encode(declared).decode(),
            )
            await executor.execute(
                SCHEDULES.mark_synced, environment=row.id, version=row.version_id
            )

    async def _take(self) -> list[Schedule]:
        return await self._database.fetch(
            Schedule,
            SCHEDULES.take_due,
            clock=self._moment(),
            tenants=TENANTS,
            limit=PORTION,
            seconds=self._hold_seconds,
        )

    async def _serve(self, environment_id: str, due: list[Schedule], now: datetime) -> None:
        with _alone("ticks not fired", environment=environment_id):
            await self._fire(environment_id, due, now)

    async def _fire(self, environment_id: str, due: list[Schedule], now: datetime) -> None:
        environment = await self._tenancy.environment_by_id(environment_id)
        if environment is None:
            return
        why_not = await self._hindrance(environment)
        offer = await self._catalogue.offer(environment_id)
        ticks: list[Tick] = []
        advances: list[_Advance] = []
        for schedule in due:
            with _alone("tick not fired", schedule=schedule.id):
                mine = [] if why_not else list(_missed(schedule, now))
                skip = why_not
                if mine and (offer is None or schedule.task not in offer.tasks):
                    mine, skip = [], f"the current version has no task {schedule.task}"
                advances.append(_advance(schedule, mine, skip, now))
                ticks += mine
        refused = await self.trigger(environment, ticks)
        advances = [
            msgspec.structs.replace(one, last_skip=refused.get(one.id, one.last_skip))
            for one in advances
        ]
        await self._database.execute(SCHEDULES.advance, ticks=_encoder.encode(advances).decode())

    async def trigger(self, environment: Environment, ticks: list[Tick]) -> dict[str, str]:
        """Make the runs of ticks, in portions; return why some have none, by schedule."""
        refused: dict[str, str] = {}
        for start in range(0, len(ticks), PORTION):
            portion = ticks[start : start + PORTION]
            admitted = await self._triggers.admit(environment, [_trigger(tick) for tick in portion])
            bound: list[NewRun | Refusal] = [
                msgspec.structs.replace(one, schedule=tick.schedule.id)
                if isinstance(one, NewRun)
                else one
                for tick, one in zip(portion, admitted, strict=True)
            ]
            made = await self._triggers.create(environment.id, bound)
            for tick, one in zip(portion, made, strict=True):
                if one.error is not None:
                    refused[tick.schedule.id] = one.error.message
        return refused

    async def _hindrance(self, environment: Environment) -> str | None:
        """Return why nothing is fired: while a developer is away nothing is missed."""
        if environment.pins_versions:
            return None
        served = await self._database.fetch_value(SCHEDULES.has_worker, environment=environment.id)
        return None if served else "no worker was connected to the development environment"

    def _declared(self, task: str, wanted: ScheduleManifest, now: datetime) -> _Declared:
        schedule_id = self._ids.new("sched")
        plan = Plan(
            task=task,
            cron=wanted.cron,
            timezone=wanted.timezone,
            window=wanted.window,
            catchup=wanted.catchup,
        )
        next_at, due_at = next_tick(schedule_id, plan, now)
        return _Declared(
            id=schedule_id,
            task=task,
            cron=plan.cron,
            timezone=plan.timezone,
            time_window=plan.window,
            catchup=plan.catchup,
            next_at=next_at,
            due_at=due_at,
        )

    async def _now(self) -> datetime:
        now = await self._database.fetch_value(SCHEDULES.now, clock=self._moment())
        assert isinstance(now, datetime)
        return now

    def _moment(self) -> datetime | None:
        return self._clock() if self._clock is not None else None


def payload(schedule: Schedule, nominal: datetime, previous: datetime | None) -> str:
    """Return what a scheduled run receives, as JSON."""
    upcoming = islice(cron.occurrences(schedule.cron, schedule.timezone, nominal), UPCOMING)
    return ScheduledPayload(
        schedule_id=schedule.id,
        type="DECLARATIVE" if schedule.kind == "declarative" else "IMPERATIVE",
        timestamp=nominal,
        last_timestamp=previous,
        external_id=schedule.external_id,
        timezone=schedule.timezone,
        upcoming=tuple(upcoming),
    ).model_dump_json(by_alias=True)


def _missed(schedule: Schedule, now: datetime) -> Iterable[Tick]:
    """Yield the ticks that are due now: one, unless `catchup` says otherwise after an outage."""
    last = cron.latest(schedule.cron, schedule.timezone, now)
    last = max(schedule.next_at, last)
    if schedule.catchup == "all":
        later = takewhile(
            lambda moment: moment <= now,
            cron.occurrences(schedule.cron, schedule.timezone, schedule.next_at),
        )
        nominals = [schedule.next_at, *islice(later, MOST_CAUGHT_UP - 1)]
    elif schedule.catchup == "none" and now - schedule.due_at > LATE and now - last > LATE:
        nominals = []
    else:
        nominals = [last]
    previous = schedule.last_at
    for nominal in nominals:
        yield Tick(schedule=schedule, nominal=nominal, previous=previous)
        previous = nominal


def _trigger(tick: Tick) -> Trigger:
    schedule = tick.schedule
    return Trigger(
        task=schedule.task,
        payload=payload(schedule, tick.nominal, tick.previous),
        concurrency_key=schedule.concurrency_key,
        request_key=f"schedule/{schedule.id}/{int(tick.nominal.timestamp())}",
    )


def _advance(schedule: Schedule, ticks: list[Tick], skip: str | None, now: datetime) -> _Advance:
    """Return where a schedule goes on: after what it fired, and after now."""
    after = max(now, ticks[-1].nominal if ticks else schedule.next_at)
    next_at, due_at = next_tick(schedule.id, plan_of(schedule), after)
    if not ticks and skip is None:
        skip = "missed while no server was up"
    return _Advance(
        id=schedule.id,
        nominal=schedule.next_at,
        next_at=next_at,
        due_at=due_at,
        last_at=ticks[-1].nominal if ticks else None,
        last_skip=skip,
    )


def _is_for(wanted: ScheduleManifest, slug: str) -> bool:
    return not wanted.environments or slug in wanted.environments


@contextmanager
def _alone(what: str, **whose: str) -> Iterator[None]:
    """Let what fails fail alone: it is held for some seconds and comes again, others go on."""
    try:
        yield
    except EngineError as error:
        logger.warning(what, extra={**whose, "why": str(error)})
    except Exception:
        logger.exception(what, extra=whose)
