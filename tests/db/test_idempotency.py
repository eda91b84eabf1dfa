"""One key, one run: how far a key reaches, how long it holds, what frees it, who waits on it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from engines import Clock, Platform, platform
from fake_worker import Claimed, FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.protocol.statuses import FINAL, Status
from outlast.protocol.triggers import Debounce, Trigger, Triggered

KEY = "k" * 64
OFFERED = manifest("job", "other")
FREES_THE_KEY = {"failed", "crashed", "system_failure", "timed_out", "expired"}


class Desk:
    """An engine whose time the test owns."""

    def __init__(self, place: Platform, engine: Engine, clock: Clock) -> None:
        self.place = place
        self.engine = engine
        self.clock = clock

    async def trigger(self, task: str = "job", **options: object) -> Triggered:
        wanted = Trigger(task=task, idempotency_key=KEY)
        [made] = await self.engine.trigger(
            self.place.environment, [msgspec.structs.replace(wanted, **options)]
        )
        return made

    async def worker(self) -> FakeWorker:
        return await FakeWorker.open(self.engine, self.place.environment, OFFERED)


@pytest.fixture
async def desk(fresh_url: str) -> AsyncIterator[Desk]:
    clock = Clock()
    async with platform(fresh_url, "prod", clock) as place:
        engine = await place.server()
        await engine.catalogue.register(place.environment.id, OFFERED)
        yield Desk(place, engine, clock)
        assert await engine._audit.environment(place.environment.id) == []


@pytest.mark.parametrize("status", sorted(FINAL))
async def test_failures_and_expiry_free_a_key_success_and_cancel_keep_it(
    desk: Desk, status: Status
) -> None:
    worker = await desk.worker()
    first = await desk.trigger()
    (await worker.claim(first.run_id)).complete()
    await desk.trigger(idempotency_key=None, delay=3600.0)  # a turn that comes after the end
    await desk.place.sql(
        "update outlast.run_state set status = $2 where run_id = $1", first.run_id, status
    )
    await desk.place.sql(
        "update outlast.run_end set status = $2 where run_id = $1", first.run_id, status
    )

    second = await desk.trigger(delay=3600.0)

    assert second.is_cached is (status not in FREES_THE_KEY)
    assert (second.run_id == first.run_id) is second.is_cached


async def test_a_key_holds_for_thirty_days_or_as_long_as_it_says(desk: Desk) -> None:
    long = await desk.trigger(delay=90 * 86_400.0)
    short = await desk.trigger(
        idempotency_key="s" * 64, idempotency_key_ttl=60.0, delay=90 * 86_400.0
    )
    answers = []
    for seconds in (59, 61, 30 * 86_400 - 1, 30 * 86_400 + 1):
        desk.clock.now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        again = await desk.trigger(delay=3600.0)
        again_short = await desk.trigger(
            idempotency_key="s" * 64, idempotency_key_ttl=86_400.0, delay=3600.0
        )
        answers.append((again.run_id == long.run_id, again_short.run_id == short.run_id))

    assert answers == [(True, True), (True, False), (True, False), (False, False)]


async def test_a_key_belongs_to_its_task_and_its_environment(desk: Desk) -> None:
    first = await desk.trigger(delay=60.0)
    other = await desk.trigger("other", delay=60.0)
    elsewhere = await desk.engine.tenancy.environment("proj_test", "stg")
    await desk.engine.catalogue.register(elsewhere.id, OFFERED)
    [foreign] = await desk.engine.trigger(
        elsewhere, [Trigger(task="job", idempotency_key=KEY, delay=60.0)]
    )

    assert len({first.run_id, other.run_id, foreign.run_id}) == 3
    assert (first.is_cached, other.is_cached, foreign.is_cached) == (False, False, False)


async def test_a_forgotten_key_makes_a_new_run_though_the_first_succeeded(desk: Desk) -> None:
    worker = await desk.worker()
    first = await desk.trigger()
    (await worker.claim(first.run_id)).complete()

    await desk.engine.queues.reset_key(desk.place.environment.id, "job", KEY)

    assert (await desk.trigger(delay=3600.0)).run_id != first.run_id


async def test_a_child_of_a_known_key_gives_the_stored_output_at_once(desk: Desk) -> None:
    worker = await desk.worker()
    first = await desk.trigger("other")
    (await worker.claim(first.run_id)).complete('"stored"')
    parent = await started(desk, worker)

    await parent.call("child:other#0", "child", Trigger(task="other", idempotency_key=KEY))

    outcome = await parent.result("child:other#0")
    assert (outcome.value, outcome.run_id) == ('"stored"', first.run_id)
    parent.complete()


async def test_a_child_of_a_known_key_waits_for_the_run_that_executes(desk: Desk) -> None:
    worker = await desk.worker()
    first = await desk.trigger("other")
    executing = await worker.claim(first.run_id)
    parent = await started(desk, worker)
    await parent.call("child:other#0", "child", Trigger(task="other", idempotency_key=KEY))
    assert await parent.suspend("child:other#0")

    executing.complete('"late"')

    resumed = await worker.claim(parent.run)
    [entry] = resumed.claim.entries
    assert entry.outcome is not None
    assert entry.outcome.value == '"late"'
    resumed.complete()


async def test_a_child_that_pushes_a_delayed_run_back_waits_for_that_one(desk: Desk) -> None:
    worker = await desk.worker()
    pushed = Debounce(key="d", delay=10.0)
    first = await desk.trigger("other", idempotency_key=None, debounce=pushed)
    parent = await started(desk, worker)
    await parent.call("child:other#0", "child", Trigger(task="other", debounce=pushed))
    assert await parent.suspend("child:other#0")

    desk.clock.now += timedelta(seconds=11)
    desk.engine.cycles.wake(desk.place.environment.id)
    (await worker.claim(first.run_id)).complete('"shared"')

    resumed = await worker.claim(parent.run)
    [entry] = resumed.claim.entries
    assert entry.outcome is not None
    assert entry.outcome.value == '"shared"'
    resumed.complete()


async def test_a_run_does_not_wait_for_itself_or_for_one_above_it(desk: Desk) -> None:
    worker = await desk.worker()
    top = await worker.claim((await desk.trigger()).run_id)
    called = await top.call("child:other#0", "child", Trigger(task="other"))
    below = await worker.claim(called.runs[0].run_id)

    for caller in (top, below):
        key = "child:job#9"
        await caller.call(key, "child", Trigger(task="job", idempotency_key=KEY))
        outcome = await caller.result(key)
        assert outcome.error is not None
        assert outcome.error.type == "TriggerRefused"
        assert f"answers with run {top.run}" in outcome.error.message
        assert "give the child another key" in outcome.error.message
    below.complete()
    top.complete()


async def test_a_batch_waits_for_all_but_the_run_that_waits_for_it(desk: Desk) -> None:
    worker = await desk.worker()
    parent = await worker.claim((await desk.trigger()).run_id)
    items = (Trigger(task="other"), Trigger(task="job", idempotency_key=KEY))
    called = await parent.call("batch:mixed#0", "batch", *items)
    (await worker.claim(called.runs[0].run_id)).complete("1")

    outcome = await parent.result("batch:mixed#0")

    assert outcome.members is not None
    fine, refused = outcome.members
    assert fine.value == "1"
    assert refused.error is not None
    assert "another key" in refused.error.message
    parent.complete()


async def started(desk: Desk, worker: FakeWorker) -> Claimed:
    made = await desk.trigger(idempotency_key=None)
    return await worker.claim(made.run_id)


async def test_a_batch_that_a_run_asks_for_again_at_another_server_has_the_runs_it_had(
    desk: Desk,
) -> None:
    """The worker's server ended before it answered: the worker repeats the call to the next."""
    second = await desk.place.server()
    worker = await desk.worker()
    parent = await started(desk, worker)
    items = tuple(Trigger(task="other", delay=3600.0, payload=str(n)) for n in range(100))
    first = await parent.call("batch:many#0", "batch", *items)
    await desk.engine.gateway.close(worker.hello.session, goodbye=False)
    await worker.connect(second)

    parent.number = 0  # it is the frame that was sent before
    again = await parent.call("batch:many#0", "batch", *items)

    assert [run.run_id for run in again.runs] == [run.run_id for run in first.runs]
    [row] = await desk.place.sql("select count(*) from outlast.run where task = 'other'")
    assert row["count"] == len({run.run_id for run in first.runs}) == 100
    parent.complete()
    assert await desk.engine.ends.wait(desk.place.environment.id, parent.run, 5)
