"""Schedules: each tick makes one run, whatever dies, jumps or changes its clock."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest

from engines import Platform, platform
from fake_worker import FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.engine.errors import Conflict, InvalidRequest, NotFound
from outlast.engine.schedules import Plan, Schedule, ScheduleFilters
from outlast.engine.ticks import PORTION, Tick, Ticks
from outlast.protocol.manifests import Manifest, ScheduleManifest

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clock:
    """Durable time that a test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def place(fresh_url: str, clock: Clock) -> AsyncIterator[Platform]:
    async with platform(fresh_url, "prod", clock) as made:
        yield made


@pytest.fixture
async def engine(place: Platform) -> AsyncIterator[Engine]:
    engine = await place.server()
    await FakeWorker.open(engine, place.environment, manifest("digest", "other"))
    yield engine
    assert await engine._audit.environment(place.environment.id) == []


async def runs(place: Platform) -> list[datetime]:
    """Return the nominal times of all scheduled runs."""
    rows = await place.sql(
        "select payload from outlast.run where schedule_id is not null order by created_at, id"
    )
    return sorted(datetime.fromisoformat(json.loads(row["payload"])["timestamp"]) for row in rows)


async def save(engine: Engine, place: Platform, key: str = "a", **plan: str) -> Schedule:
    wanted = Plan(**{"task": "digest", "cron": "0 9 * * *", **plan})  # type: ignore[arg-type]
    return await engine.schedules.save(place.environment.id, key, wanted)


async def multiply(place: Platform, template: Schedule, count: int) -> None:
    """Make schedules like one there is, for 500 tenants."""
    await place.sql(
        """insert into outlast.schedule (id, environment_id, kind, task, deduplication_key,
             concurrency_key, cron, timezone, catchup, next_at, due_at)
           select 'sched_' || lpad(n::text, 26, '0'), environment_id, kind, task, 'k' || n,
             'org_' || n % 500, cron, timezone, catchup, next_at, due_at
           from outlast.schedule, generate_series(1, $2::int) n where id = $1""",
        template.id,
        count,
    )


async def test_a_tick_makes_one_run_that_knows_its_times(
    place: Platform, engine: Engine, clock: Clock
) -> None:
    """The payload has the nominal time, the one before, and the next five."""
    schedule = await save(engine, place, external_id="org_1", timezone="Europe/Berlin")
    assert schedule.next_at == datetime(2026, 3, 2, 8, tzinfo=UTC)

    for day in (2, 3):
        clock.now = datetime(2026, 3, day, 8, 0, 1, tzinfo=UTC)
        await engine.ticks.run_once()

    [_, row] = await place.sql("select payload, task, schedule_id from outlast.run order by id")
    assert (row["task"], row["schedule_id"]) == ("digest", schedule.id)
    payload = json.loads(row["payload"])
    assert payload["timestamp"] == "2026-03-03T08:00:00Z"
    assert payload["lastTimestamp"] == "2026-03-02T08:00:00Z"
    assert (payload["externalId"], payload["timezone"]) == ("org_1", "Europe/Berlin")
    assert len(payload["upcoming"]) == 5
    assert payload["upcoming"][0] == "2026-03-04T08:00:00Z"


async def test_three_servers_fire_each_tick_once(
    place: Platform, engine: Engine, clock: Clock
) -> None:
    """Whoever looks, and however often."""
    servers = [engine, await place.server(), await place.server()]
    for n in range(20):
        await save(engine, place, f"key-{n}", cron="*/5 * * * *")

    for minute in range(5, 25, 5):
        clock.now = START + timedelta(minutes=minute)
        await asyncio.gather(*(server.ticks.run_once() for server in servers))

    fired = await runs(place)
    assert len(fired) == 80
    assert len(set(fired)) == 4


async def test_a_server_that_dies_between_trigger_and_advance_fires_nothing_twice(
    place: Platform, engine: Engine, clock: Clock
) -> None:
    """The next one repeats the trigger, and its key finds the run."""
    await save(engine, place, cron="0 * * * *")
    clock.now = START + timedelta(hours=1)
    dying = Ticks(
        engine.database,
        ids=engine.ids,
        tenancy=engine.tenancy,
        catalogue=engine.catalogue,
        triggers=engine.triggers,
        clock=clock,
        hold_seconds=0,
    )
    due = await dying._take()
    environment = await engine.tenancy.environment_by_id(place.environment.id)
    assert environment is not None
    await dying.trigger(
        environment, [Tick(schedule=one, nominal=one.next_at, previous=None) for one in due]
    )

    await engine.ticks.run_once()

    assert await runs(place) == [START + timedelta(hours=1)]
    [after] = (
        await engine.schedules.page(place.environment.id, ScheduleFilters(), page=1, size=10)
    ).schedules
    assert after.next_at == START + timedelta(hours=2)


@pytest.mark.parametrize(
    ("catchup", "hours"), [("latest", [6]), ("all", [1, 2, 3, 4, 5, 6]), ("none", [])]
)
async def test_after_an_outage_the_schedule_says_what_is_made_up_for(
    place: Platform, engine: Engine, clock: Clock, catchup: str, hours: list[int]
) -> None:
    """One late tick by default."""
    await save(engine, place, cron="0 * * * *", catchup=catchup)

    clock.now = START + timedelta(hours=6, minutes=20)
    await engine.ticks.run_once()

    assert await runs(place) == [START + timedelta(hours=hour) for hour in hours]
    clock.now = START + timedelta(hours=7)
    await engine.ticks.run_once()
    assert (await runs(place))[-1] == START + timedelta(hours=7)


async def test_a_clock_that_jumps_back_repeats_no_tick(
    place: Platform, engine: Engine, clock: Clock
) -> None:
    """The next tick is known; time has to come there again."""
    await save(engine, place, cron="*/10 * * * *")
    for minutes in (10, 20, 5, 10, 20, 30):
        clock.now = START + timedelta(minutes=minutes)
        await engine.ticks.run_once()

    assert await runs(place) == [START + timedelta(minutes=m) for m in (10, 20, 30)]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize("month", [3, 10])
async def test_nine_in_the_morning_stays_nine_over_both_changes_of_clocks(
    place: Platform, engine: Engine, clock: Clock, zone: str, month: int
) -> None:
    """Once a day, also where a night has 23 or 25 hours; half past two exists or is made up for."""
    clock.now = datetime(2026, month, 1, tzinfo=UTC)
    await save(engine, place, "nine", cron="0 9 * * *", timezone=zone)
    await save(engine, place, "night", cron="30 2 * * *", timezone=zone)

    for _ in range(24 * 35):
        clock.now += timedelta(hours=1)
        await engine.ticks._fire(place.environment.id, await engine.ticks._take(), clock.now)

    local = [moment.astimezone(ZoneInfo(zone)) for moment in await runs(place)]
    nine = [moment for moment in local if moment.hour == 9]
    night = [moment for moment in local if moment.hour != 9]
    assert [(m.hour, m.minute) for m in nine] == [(9, 0)] * len(nine)
    assert {len({m.date() for m in each}) - len(each) for each in (nine, night)} == {0}
    assert len(nine) >= 34
    assert len(night) >= 34


async def test_ten_thousand_schedules_of_one_minute_all_fire_in_portions(
    place: Platform, engine: Engine, clock: Clock
) -> None:
    """Beside them, other work goes through turns of its own."""
    await multiply(place, await save(engine, place, cron="0 * * * *"), 9_999)

    clock.now = START + timedelta(hours=1)
    await engine.ticks.run_once()

    async with asyncio.timeout(30):  # the server's own agent may hold a portion
        while len(fired := await runs(place)) < 10_000:
            await engine.ticks.run_once()
    assert fired == [START + timedelta(hours=1)] * 10_000


async def test_one_schedule_waits_behind_no_thousands_of_another_environment(
    place: Platform, engine: Engine, clock: Clock
) -> None:
    """Each environment has its share of every portion that is taken."""
    other = await engine.tenancy.environment("proj_test", "stg")
    await FakeWorker.open(engine, other, manifest("digest"), session="stg")
    await multiply(place, await save(engine, place, cron="0 * * * *"), 1_999)
    plan = Plan(task="digest", cron="0 * * * *")
    alone = await engine.schedules.save(other.id, "alone", plan)
    clock.now = START + timedelta(hours=1)

    await engine.ticks.run_once()

    [row] = await place.sql(
        """select count(*) as before from outlast.run r join outlast.run mine
             on mine.schedule_id = $1 and r.xmin::text::int < mine.xmin::text::int""",
        alone.id,
    )
    assert row["before"] <= 2 * PORTION  # the server's own agent may take one too


async def test_what_cannot_be_fired_stops_no_other_schedule(
    place: Platform, engine: Engine, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A time zone that this server's database of them lacks, for example."""
    odd = await save(engine, place, "odd", cron="0 * * * *")
    await save(engine, place, "even", cron="0 * * * *")
    await place.sql("update outlast.schedule set timezone = 'Mars/North' where id = $1", odd.id)
    clock.now = START + timedelta(hours=1)

    await engine.ticks.run_once()

    assert await runs(place) == [START + timedelta(hours=1)]
    assert {getattr(record, "schedule", None) for record in caplog.records} >= {odd.id}


async def test_a_window_spreads_ticks_by_a_share_that_stays(
    place: Platform, engine: Engine, clock: Clock
) -> None:
    """Due later than the nominal time, which the payload still tells."""
    made = [await save(engine, place, f"k{n}", cron="0 * * * *", window="30m") for n in range(30)]

    offsets = {one.due_at - one.next_at for one in made}
    assert len(offsets) > 10
    assert all(timedelta() <= offset < timedelta(minutes=30) for offset in offsets)
    clock.now = START + timedelta(hours=1, minutes=30)
    await engine.ticks.run_once()
    assert await runs(place) == [START + timedelta(hours=1)] * 30
    again = await engine.schedules.retrieve(place.environment.id, made[0].id)
    assert again.due_at - again.next_at == made[0].due_at - made[0].next_at


async def test_the_same_key_changes_the_schedule_instead_of_doubling_it(
    place: Platform, engine: Engine
) -> None:
    """It keeps its id."""
    first = await save(engine, place, "digest-org_1", cron="0 9 * * *")
    second = await save(engine, place, "digest-org_1", cron="0 17 * * *")

    assert second.id == first.id
    assert second.cron == "0 17 * * *"
    found = await engine.schedules.page(
        place.environment.id, ScheduleFilters(deduplication_key="digest-org_1"), page=1, size=10
    )
    assert found.count == 1


async def test_one_that_is_switched_off_makes_nothing_up_when_it_comes_back(
    place: Platform, engine: Engine, clock: Clock
) -> None:
    """It looks forward."""
    schedule = await save(engine, place, cron="0 * * * *")
    await engine.schedules.switch(place.environment.id, schedule.id, active=False)
    clock.now = START + timedelta(hours=5, minutes=1)
    await engine.ticks.run_once()
    back = await engine.schedules.switch(place.environment.id, schedule.id, active=True)
    await engine.ticks.run_once()

    assert await runs(place) == []
    assert back.next_at == START + timedelta(hours=6)


@pytest.mark.parametrize(
    ("plan", "param"),
    [
        ({"cron": "* * * * * *"}, "cron"),
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "0 0 31 2 *"}, "cron"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"window": "90s"}, "window"),
        ({"window": "25h"}, "window"),
        ({"task": "nowhere"}, "task"),
        ({"external_id": "x" * 600}, "externalId"),
    ],
)
async def test_a_plan_that_cannot_be_is_refused_by_its_field(
    place: Platform, engine: Engine, plan: dict[str, str], param: str
) -> None:
    """Before anything is written."""
    with pytest.raises(InvalidRequest) as caught:
        await save(engine, place, **plan)
    assert caught.value.param == param


async def test_another_environment_finds_nothing(place: Platform, engine: Engine) -> None:
    """A schedule belongs to its environment."""
    schedule = await save(engine, place)
    other = await engine.tenancy.environment("proj_test", "stg")

    with pytest.raises(NotFound):
        await engine.schedules.retrieve(other.id, schedule.id)
    with pytest.raises(NotFound):
        await engine.schedules.delete(other.id, schedule.id)


def declaring(cron: str | None, digest: str, *environments: str) -> Manifest:
    plain = manifest("digest", "other", digest=digest)
    schedule = None if cron is None else ScheduleManifest(cron, environments=environments)
    tasks = (msgspec.structs.replace(plain.tasks[0], schedule=schedule), *plain.tasks[1:])
    return msgspec.structs.replace(plain, tasks=tasks)


async def declared(engine: Engine, place: Platform) -> list[Schedule]:
    await engine.ticks.declare()
    page = await engine.schedules.page(place.environment.id, ScheduleFilters(), page=1, size=10)
    return list(page.schedules)


async def test_what_code_declares_comes_changes_and_goes_with_its_version(
    place: Platform, engine: Engine, clock: Clock
) -> None:
    """And nobody changes it elsewhere."""
    await FakeWorker.open(
        engine, place.environment, declaring("0 9 * * *", "d2"), session="session_b"
    )
    [first] = await declared(engine, place)
    assert (first.kind, first.task, first.cron) == ("declarative", "digest", "0 9 * * *")
    with pytest.raises(Conflict):
        await engine.schedules.switch(place.environment.id, first.id, active=False)

    await FakeWorker.open(
        engine, place.environment, declaring("0 10 * * *", "d3"), session="session_c"
    )
    [second] = await declared(engine, place)
    assert (second.id, second.cron) == (first.id, "0 10 * * *")

    await FakeWorker.open(engine, place.environment, declaring(None, "d4"), session="session_d")
    assert await declared(engine, place) == []


async def test_a_version_with_a_schedule_that_cannot_be_is_refused_by_its_task(
    place: Platform, engine: Engine
) -> None:
    """Whoever starts the worker reads which line to mend."""
    with pytest.raises(InvalidRequest, match="task digest: cron '0 9 \\* \\* 99': Bad day-of-week"):
        await FakeWorker.open(
            engine, place.environment, declaring("0 9 * * 99", "d2"), session="session_b"
        )


async def test_a_schedule_of_other_environments_is_not_declared_here(
    place: Platform, engine: Engine
) -> None:
    """`environments=` names where it fires."""
    await FakeWorker.open(
        engine, place.environment, declaring("0 9 * * *", "d2", "stg"), session="session_b"
    )
    assert await declared(engine, place) == []


async def test_a_task_that_the_current_version_lacks_is_skipped_with_the_reason(
    place: Platform, engine: Engine, clock: Clock
) -> None:
    """The tick is not made up for when it comes back."""
    schedule = await save(engine, place, cron="0 * * * *")
    await FakeWorker.open(
        engine, place.environment, manifest("other", digest="d2"), session="session_b"
    )
    engine.catalogue.forget(place.environment.id)
    clock.now = START + timedelta(hours=1)
    await engine.ticks.run_once()

    after = await engine.schedules.retrieve(place.environment.id, schedule.id)
    assert await runs(place) == []
    assert after.last_skip == "the current version has no task digest"
    assert after.next_at == START + timedelta(hours=2)


async def test_in_development_nothing_fires_while_no_worker_is_there(
    fresh_url: str, clock: Clock
) -> None:
    """A laptop that was closed overnight does not start with a night's worth of runs."""
    async with platform(fresh_url, "dev", clock) as place:
        engine = await place.server()
        worker = await FakeWorker.open(engine, place.environment, manifest("digest"))
        schedule = await save(engine, place, cron="0 * * * *")
        await engine.gateway.close(worker.hello.session, goodbye=True)
        clock.now = START + timedelta(hours=8)
        await engine.ticks.run_once()

        after = await engine.schedules.retrieve(place.environment.id, schedule.id)
        assert await runs(place) == []
        assert after.next_at == START + timedelta(hours=9)
