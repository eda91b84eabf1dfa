"""Queues: pause, limits, rates, sizes, statistics, and runs parked until theirs is declared."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec
import pytest

from engines import Platform, platform
from fake_worker import Claimed, FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.engine.errors import InvalidRequest, NotFound
from outlast.engine.queues import QUEUES, Queue
from outlast.engine.statistics import BOUNDS, Minute, percentile
from outlast.engine.turn import Told
from outlast.protocol.manifests import Manifest, QueueManifest, RateManifest
from outlast.protocol.triggers import Trigger

START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=2)


class Clock:
    """Durable time in a test's hands."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


class Desk:
    """An engine whose time the test owns."""

    def __init__(self, place: Platform, engine: Engine, clock: Clock) -> None:
        self.place = place
        self.engine = engine
        self.clock = clock
        self.id = place.environment.id

    async def offer(self, *queues: QueueManifest, digest: str = "digest-1") -> Manifest:
        offered = manifest("job", queue="q", queues=queues, digest=digest)
        await self.engine.catalogue.register(self.id, offered)
        return offered

    async def worker(self, offered: Manifest, shared: int = 100) -> FakeWorker:
        return await FakeWorker.open(self.engine, self.place.environment, offered, shared=shared)

    async def trigger(self, count: int = 1, **options: object) -> list[str]:
        trigger = msgspec.structs.replace(Trigger(task="job"), **options)
        made = await self.engine.trigger(self.place.environment, [trigger] * count)
        return [one.run_id for one in made]

    async def queue(self, name: str = "q") -> Queue:
        return await self.engine.queues.retrieve(self.id, name)

    async def turn(self) -> None:
        """Play one turn to its end: a trigger is answered by it."""
        await self.trigger(queue="task/job", delay=86_400.0)

    async def standing(self, run: str) -> str | None:
        return await self.engine.runs.standing(self.id, run)


@pytest.fixture
async def desk(fresh_url: str) -> AsyncIterator[Desk]:
    clock = Clock()
    async with platform(fresh_url, clock=clock) as place:
        engine = await place.server()
        yield Desk(place, engine, clock)
        assert await engine._audit.environment(place.environment.id) == []


async def test_a_paused_queue_starts_nothing_and_leaves_what_runs_alone(desk: Desk) -> None:
    offered = await desk.offer(QueueManifest("q"))
    worker = await desk.worker(offered)
    [running] = await desk.trigger()
    claimed = await worker.claim(running)

    paused = await desk.engine.queues.pause(desk.id, await desk.queue(), paused=True)
    [held] = await desk.trigger()
    claimed.complete()
    assert await desk.engine.ends.wait(desk.id, running, 5)
    await desk.turn()

    assert paused.paused
    assert worker.claims_waiting == 0
    assert await desk.standing(held) == "queue 'q' is paused"
    await desk.engine.queues.pause(desk.id, await desk.queue(), paused=False)
    (await worker.claim(held)).complete()


async def test_a_paused_environment_starts_nothing(desk: Desk) -> None:
    worker = await desk.worker(await desk.offer(QueueManifest("q")))
    stand = await desk.engine.queues.change_environment(desk.id, paused=True)
    [held] = await desk.trigger()

    assert stand.paused
    assert worker.claims_waiting == 0
    assert await desk.standing(held) == "the environment is paused"
    await desk.engine.queues.change_environment(desk.id, paused=False)
    (await worker.claim(held)).complete()


async def _waits_for_a_child(desk: Desk, worker: FakeWorker) -> tuple[str, Claimed]:
    """Let a run of `q` wait for a child of another queue; return the run and the child."""
    [run] = await desk.trigger()
    parent = await worker.claim(run)
    called = await parent.call("child:other#0", "child", Trigger(task="other"))
    assert await parent.suspend("child:other#0")
    return run, await worker.claim(called.runs[0].run_id)


async def _two_queues(desk: Desk) -> FakeWorker:
    offered = manifest("job", "other", queue="q", queues=(QueueManifest("q"),))
    other = msgspec.structs.replace(offered.tasks[1], queue="task/other")
    offered = msgspec.structs.replace(offered, tasks=(offered.tasks[0], other))
    await desk.engine.catalogue.register(desk.id, offered)
    return await desk.worker(offered)


@pytest.mark.parametrize("is_warm", [True, False], ids=["warm", "cold"])
async def test_a_paused_queue_holds_back_a_run_whose_wait_is_over(
    desk: Desk, is_warm: bool
) -> None:
    """It gave its slot back when it began to wait: parked with a worker or not, it gets none."""
    worker = await _two_queues(desk)
    run, child = await _waits_for_a_child(desk, worker)

    await desk.engine.queues.pause(desk.id, await desk.queue(), paused=True)
    child.complete()
    assert await desk.engine.ends.wait(desk.id, child.run, 5)
    if not is_warm:  # its home had its time
        desk.clock.now += timedelta(minutes=1)
    await desk.turn()

    assert worker.claims_waiting == 0
    assert await desk.standing(run) == "queue 'q' is paused"
    await desk.engine.queues.pause(desk.id, await desk.queue(), paused=False)
    (await worker.claim(run)).complete()
    assert await desk.engine.ends.wait(desk.id, run, 5)


async def test_a_paused_environment_holds_back_a_run_whose_wait_is_over(desk: Desk) -> None:
    worker = await _two_queues(desk)
    run, child = await _waits_for_a_child(desk, worker)

    await desk.engine.queues.change_environment(desk.id, paused=True)
    child.complete()
    assert await desk.engine.ends.wait(desk.id, child.run, 5)
    await desk.turn()

    assert worker.claims_waiting == 0
    await desk.engine.queues.change_environment(desk.id, paused=False)
    (await worker.claim(run)).complete()


async def test_a_paused_queue_takes_no_slot_from_a_run_that_did_not_give_it_back(
    desk: Desk,
) -> None:
    """Its child had ended before it would have waited."""
    worker = await _two_queues(desk)
    [run] = await desk.trigger()
    parent = await worker.claim(run)
    called = await parent.call("child:other#0", "child", Trigger(task="other"))
    await desk.engine.queues.pause(desk.id, await desk.queue(), paused=True)
    (await worker.claim(called.runs[0].run_id)).complete()
    await parent.result("child:other#0")

    assert not await parent.suspend("child:other#0")
    parent.complete()
    assert await desk.engine.ends.wait(desk.id, run, 5)


async def test_an_override_counts_at_once_and_survives_a_deployment_until_its_reset(
    desk: Desk,
) -> None:
    worker = await desk.worker(await desk.offer(QueueManifest("q", concurrency_limit=1)))
    await desk.trigger(3)
    await worker.claim()

    changed = await desk.engine.queues.override(desk.id, await desk.queue(), 2, by="key_1")
    await worker.claim()
    await desk.offer(QueueManifest("q", concurrency_limit=5), digest="digest-2")
    kept = await desk.queue()
    assert (changed.concurrency_limit, kept.concurrency_limit, kept.declared_limit) == (2, 2, 5)
    assert (kept.override_limit, kept.overridden_by) == (2, "key_1")
    assert kept.overridden_at is not None

    reset = await desk.engine.queues.reset(desk.id, kept)
    await worker.claim()
    assert (reset.concurrency_limit, reset.override_limit, reset.overridden_by) == (5, None, None)
    with pytest.raises(InvalidRequest):
        await desk.engine.queues.reset(desk.id, reset)


async def test_an_override_beyond_the_environment_counts_as_far_as_the_environment_goes(
    desk: Desk,
) -> None:
    """Also when the environment's limit changes later: it is clamped where it is used."""
    worker = await desk.worker(await desk.offer(QueueManifest("q", concurrency_limit=1)))
    await desk.engine.queues.change_environment(desk.id, concurrency_limit=2)
    await desk.trigger(5)
    await worker.claim()

    small = await desk.engine.queues.override(desk.id, await desk.queue(), 4)
    await worker.claim()
    await desk.turn()
    assert (small.concurrency_limit, small.override_limit, worker.claims_waiting) == (2, 4, 0)

    await desk.engine.queues.change_environment(desk.id, concurrency_limit=100)
    await worker.claim()
    await worker.claim()
    await desk.turn()
    assert (await desk.queue()).concurrency_limit == 4
    assert worker.claims_waiting == 0
    with pytest.raises(InvalidRequest):
        await desk.engine.queues.override(desk.id, small, 100_001)
    with pytest.raises(NotFound):
        await desk.queue("nothing")


async def test_a_queue_without_a_limit_of_its_own_shows_none(desk: Desk) -> None:
    await desk.offer(QueueManifest("q"))
    assert (await desk.queue()).concurrency_limit is None


async def test_one_queue_uses_the_base_only_and_several_the_burst(desk: Desk) -> None:
    offered = manifest("job", "other", queue="q", queues=(QueueManifest("q"), QueueManifest("r")))
    await desk.engine.catalogue.register(desk.id, offered)
    await desk.engine.queues.change_environment(desk.id, concurrency_limit=2, burst_factor=2.0)
    worker = await desk.worker(offered)

    first = await desk.trigger(3)
    await worker.claim()
    await worker.claim()
    await desk.turn()
    assert worker.claims_waiting == 0
    assert await desk.standing(first[2]) == "queue 'q' is at 2, the most one queue may have"

    second = await desk.trigger(3, queue="r")
    await worker.claim()
    await worker.claim()
    await desk.turn()
    assert worker.claims_waiting == 0
    assert (await desk.queue("q")).running + (await desk.queue("r")).running == 4
    assert second


async def test_a_limit_of_zero_lets_nothing_run(desk: Desk) -> None:
    worker = await desk.worker(await desk.offer(QueueManifest("q", concurrency_limit=0)))

    [held] = await desk.trigger()
    await desk.turn()

    assert worker.claims_waiting == 0
    assert await desk.standing(held) == "queue 'q' is at its limit of 0"
    await desk.engine.queues.override(desk.id, await desk.queue(), 1)
    (await worker.claim(held)).complete()


async def test_a_queue_of_limit_one_may_call_itself(desk: Desk) -> None:
    """A wait gives the slot back, so that a child never waits for its parent's."""
    worker = await desk.worker(await desk.offer(QueueManifest("q", concurrency_limit=1)))
    family = await desk.trigger()
    for _ in range(3):
        parent = await worker.claim(family[-1])
        called = await parent.call("child:job#0", "child", Trigger(task="job"))
        assert await parent.suspend("child:job#0")
        family.append(called.runs[0].run_id)
    while family:
        (await worker.claim(family.pop())).complete()

    await desk.turn()
    assert (await desk.queue()).running == 0


async def test_a_child_goes_to_the_queue_of_its_task_and_not_of_its_parent(desk: Desk) -> None:
    offered = manifest("job", "other", queues=(QueueManifest("r"),))
    await desk.engine.catalogue.register(desk.id, offered)
    worker = await desk.worker(offered)
    [run] = await desk.trigger(queue="r")
    parent = await worker.claim(run)

    called = await parent.call("child:other#0", "child", Trigger(task="other"))
    child = await worker.claim(called.runs[0].run_id)

    assert (parent.claim.facts.queue, child.claim.facts.queue) == ("r", "task/other")


async def test_a_total_limit_stands_beside_the_one_per_key(desk: Desk) -> None:
    worker = await desk.worker(
        await desk.offer(QueueManifest("q", concurrency_limit=1, total_limit=2))
    )
    for key in "abc":
        await desk.trigger(2, concurrency_key=key)

    keys = [(await worker.claim()).claim.facts.concurrency_key for _ in range(2)]
    await desk.turn()

    assert worker.claims_waiting == 0
    assert len(set(keys)) == 2


async def test_a_full_queue_refuses_triggers_and_says_what_to_do(desk: Desk) -> None:
    await desk.offer(QueueManifest("q", max_queued=2))

    made = await desk.engine.trigger(desk.place.environment, [Trigger(task="job")] * 3)

    assert [one.error is None for one in made] == [True, True, False]
    assert made[2].error is not None
    assert made[2].error.code == "queue_full"
    assert "raise max_queued" in made[2].error.message


@pytest.mark.parametrize("per_key", [True, False])
async def test_a_rate_lets_a_burst_start_and_then_one_per_interval(
    desk: Desk, per_key: bool
) -> None:
    rate = RateManifest(6, 60.0, burst=2, per_key=per_key)
    worker = await desk.worker(await desk.offer(QueueManifest("q", rate=rate)))
    started = 0

    async def settle(expected: int) -> None:
        nonlocal started
        await worker.beat()
        while started < expected:
            (await worker.claim()).complete()
            started += 1
        await desk.turn()
        assert worker.claims_waiting == 0

    runs = await desk.trigger(6, concurrency_key="a")
    await settle(2)
    if per_key:  # `standing` compares with real time, which the test's clock is behind
        assert await desk.standing(runs[5]) is not None
    for second, expected in ((9.9, 2), (10, 3), (19, 3), (20, 4), (45, 6)):
        desk.clock.now = START + timedelta(seconds=second)
        desk.engine.cycles.wake(desk.id)
        await settle(expected)


async def test_a_rate_per_key_leaves_other_keys_alone_and_one_per_queue_does_not(
    desk: Desk,
) -> None:
    for number, (per_key, expected) in enumerate(((True, 3), (False, 1))):
        name = f"rated-{number}"
        rate = RateManifest(1, 3600.0, per_key=per_key)
        offered = await desk.offer(
            QueueManifest("q"), QueueManifest(name, rate=rate), digest=f"digest-{number}"
        )
        worker = await FakeWorker.open(
            desk.engine, desk.place.environment, offered, session=f"session_{number}"
        )
        for key in "abc":
            await desk.trigger(2, queue=name, concurrency_key=key)
        for _ in range(expected):
            await worker.claim()
        await desk.turn()
        assert (await desk.queue(name)).running == expected


async def test_a_parked_run_starts_with_the_version_that_declares_its_queue(desk: Desk) -> None:
    await desk.offer(QueueManifest("q"))
    [made] = await desk.engine.trigger(
        desk.place.environment, [Trigger(task="job", queue="new", ttl=60.0, park=True)]
    )
    [refused] = await desk.engine.trigger(
        desk.place.environment, [Trigger(task="job", queue="new")]
    )
    assert refused.error is not None
    assert "park" in refused.error.message
    assert "queue 'new'" in str(await desk.standing(made.run_id))

    offered = manifest(
        "job", queue="q", queues=(QueueManifest("q"), QueueManifest("new")), digest="digest-2"
    )
    worker = await desk.worker(offered)
    claimed = await worker.claim(made.run_id)

    assert claimed.claim.facts.queue == "new"
    [timer] = await desk.place.sql("select * from outlast.timer where ref = $1", made.run_id)
    assert timer["kind"] == "ttl"


async def test_a_parked_run_of_an_unknown_task_takes_what_the_task_says(desk: Desk) -> None:
    await desk.offer(QueueManifest("q"))
    [made] = await desk.engine.trigger(
        desk.place.environment, [Trigger(task="later", max_attempts=9, delay=30.0, park=True)]
    )

    await desk.engine.catalogue.register(
        desk.id, manifest("later", queue="slow", executor="dedicated", digest="digest-2")
    )
    worker = await desk.worker(
        manifest("later", queue="slow", executor="dedicated", digest="digest-2")
    )
    desk.clock.now += timedelta(seconds=31)
    desk.engine.cycles.wake(desk.id)
    claimed = await worker.claim(made.run_id)

    assert (claimed.claim.executor, claimed.claim.facts.queue) == ("dedicated", "slow")
    assert claimed.claim.facts.max_attempts == 9


@pytest.mark.parametrize("executor", ["shared", "dedicated"])
async def test_slots_that_a_turn_gave_are_taken_for_the_next_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, executor: Literal["shared", "dedicated"]
) -> None:
    """Also while the workers were not told of it yet."""
    go = asyncio.Event()
    tell = desk.engine._workers.tell

    async def held(environment: str, told: Told) -> None:
        await go.wait()
        await tell(environment, told)

    offered = manifest("job", queue="q", queues=(QueueManifest("q"),), executor=executor)
    await desk.engine.catalogue.register(desk.id, offered)
    worker = await FakeWorker.open(
        desk.engine, desk.place.environment, offered, shared=1, dedicated=1
    )
    monkeypatch.setattr(desk.engine._workers, "tell", held)

    first, second, third = [(await desk.trigger())[0] for _ in range(3)]
    running = (await desk.queue()).running
    go.set()
    for run in (first, second, third):
        (await worker.claim(run)).complete()

    assert running == 1


async def test_statistics_count_waits_and_depths_by_the_minute(desk: Desk) -> None:
    offered = await desk.offer(QueueManifest("q"))
    await desk.trigger(3)
    desk.clock.now += timedelta(seconds=8)
    worker = await desk.worker(offered, shared=2)
    await worker.claim()
    await worker.claim()

    await desk.engine.statistics.flush()
    await desk.engine.statistics.flush()

    [minute] = await desk.engine.statistics.minutes(desk.id, "q", 3600)
    assert (minute.queued, minute.running, minute.started) == (1, 2, 2)
    delay = percentile([minute], 0.95)
    assert delay is not None
    assert 8 <= delay <= 8 * 1.25


async def test_keys_are_paged_with_their_depths(desk: Desk) -> None:
    await desk.offer(QueueManifest("q"))
    for key in "cab":
        await desk.trigger(2, concurrency_key=key)
    await desk.trigger()

    queue = await desk.queue()
    first = await desk.engine.queues.keys(desk.id, queue, limit=2)
    rest = await desk.engine.queues.keys(desk.id, queue, limit=9, after=first[-1].key)

    assert [(row.key, row.queued) for row in [*first, *rest]] == [
        ("", 1),
        ("a", 2),
        ("b", 2),
        ("c", 2),
    ]
    assert await desk.engine.queues.oldest_wait(desk.id, queue) is not None


def test_a_percentile_is_within_a_step_of_the_truth() -> None:
    waits = [0] * len(BOUNDS)
    waits[10], waits[20] = 95, 5

    assert percentile([Minute(START, 0, 0, 100, waits)], 0.95) == BOUNDS[10]
    assert percentile([Minute(START, 0, 0, 100, waits)], 0.96) == BOUNDS[20]
    assert percentile([], 0.95) is None


@pytest.mark.parametrize("statement", ["find", "oldest", "list_keys", "list_minutes"])
async def test_statistics_never_read_what_grows_with_the_backlog(
    desk: Desk, statement: str
) -> None:
    """Rows that the plan really touches, at 20 queued runs and at 20,000."""
    await desk.offer(QueueManifest("q"))
    await desk.trigger(20)
    values: dict[str, object] = {"environment_id": desk.id, "name": "q", "after": None}
    values |= {"limit": 100, "clock": None, "seconds": 3600.0}
    found = QUEUES.statements[statement]
    touched = []
    for _ in range(2):
        plan = await desk.place.sql(
            f"explain (analyze, format json) {found.sql}",
            *(values[name] for name in found.parameters),
        )
        touched.append(_touched(msgspec.json.decode(plan[0][0])[0]["Plan"]))
        await desk.place.sql(
            "insert into outlast.ready (lane_id, rank, at, run_id, fresh) "
            "select lane_id, 1, at + interval '1 hour', run_id || '-' || n, true "
            "from outlast.ready, generate_series(1, 1000) n where run_id not like '%-%' "
            "on conflict do nothing"
        )
        await desk.place.sql("analyze outlast.ready")
    await desk.place.sql("delete from outlast.ready where run_id like '%-%'")

    assert touched[1] <= touched[0] + 20


async def test_the_oldest_wait_never_reads_all_keys_of_a_queue(desk: Desk) -> None:
    """Rows that the plan really touches at 20,000 keys that wait."""
    await desk.offer(QueueManifest("q"))
    [run] = await desk.trigger()
    await desk.place.sql(
        "insert into outlast.lane (environment_id, queue, key, route, queued) "
        "select l.environment_id, l.queue, 'key-' || n, l.route, 1 "
        "from outlast.lane l, generate_series(1, 20000) n where l.queue = 'q'"
    )
    await desk.place.sql(
        "insert into outlast.ready (lane_id, rank, at, run_id, fresh) "
        "select id, 1, now(), $1, true from outlast.lane where key like 'key-%'",
        run,
    )
    await desk.place.sql("analyze outlast.lane, outlast.ready")

    values = {"environment_id": desk.id, "name": "q"}
    plan = await desk.place.sql(
        f"explain (analyze, format json) {QUEUES.oldest.sql}",
        *(values[name] for name in QUEUES.oldest.parameters),
    )
    waits = await desk.engine.queues.oldest_wait(desk.id, await desk.queue())
    await desk.place.sql(
        "delete from outlast.ready r using outlast.lane l where l.id = r.lane_id and l.key <> ''"
    )
    await desk.place.sql("delete from outlast.lane where key <> ''")

    assert _touched(msgspec.json.decode(plan[0][0])[0]["Plan"]) < 10_000
    assert waits is not None


def _touched(plan: dict[str, object]) -> float:
    below = plan.get("Plans", [])
    assert isinstance(below, list)
    if below:
        return sum(map(_touched, below))
    rows, loops = plan["Actual Rows"], plan["Actual Loops"]
    removed = plan.get("Rows Removed by Filter", 0)
    assert isinstance(rows, int | float)
    assert isinstance(removed, int | float)
    assert isinstance(loops, int | float)
    return (rows + removed) * loops
