"""What the options of a trigger do to its run, once a worker gets it."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from engines import Clock, Platform, platform
from fake_worker import FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.protocol.manifests import QueueManifest, RetryPolicy
from outlast.protocol.triggers import Trigger

OFFERED = manifest("job", queue="one", queues=(QueueManifest("one", concurrency_limit=1),))


class Desk:
    """An engine whose time the test owns."""

    def __init__(self, place: Platform, engine: Engine, clock: Clock) -> None:
        self.place = place
        self.engine = engine
        self.clock = clock

    async def trigger(self, **options: object) -> str:
        wanted = msgspec.structs.replace(Trigger(task="job"), **options)
        [made] = await self.engine.trigger(self.place.environment, [wanted])
        assert made.error is None
        return made.run_id

    async def worker(self, digest: str = "digest-1") -> FakeWorker:
        offered = msgspec.structs.replace(OFFERED, digest=digest)
        return await FakeWorker.open(self.engine, self.place.environment, offered, session=digest)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.engine.cycles.wake(self.place.environment.id)


@pytest.fixture
async def desk(fresh_url: str) -> AsyncIterator[Desk]:
    clock = Clock()
    async with platform(fresh_url, "prod", clock) as place:
        yield Desk(place, await place.server(), clock)


async def test_priority_is_a_head_start_in_seconds_within_the_lane(desk: Desk) -> None:
    worker = await desk.worker()
    holder = await worker.claim(await desk.trigger(concurrency_key="a"))
    first = await desk.trigger(concurrency_key="a")
    desk.clock.advance(5)
    too_late = await desk.trigger(concurrency_key="a", priority=4.0)
    overtakes = await desk.trigger(concurrency_key="a", priority=6.0)
    order = []
    for _ in range(3):
        holder.complete()
        holder = await worker.claim()
        order.append(holder.run)

    assert order == [overtakes, first, too_late]
    holder.complete()


async def test_a_delay_holds_a_run_back_and_a_moment_in_the_past_does_not(desk: Desk) -> None:
    worker = await desk.worker()
    now = desk.clock.now.timestamp()
    later = await desk.trigger(delay=60.0)
    at_once = await desk.trigger(delay_until=now - 3600)
    (await worker.claim(at_once)).complete()
    assert worker.claims_waiting == 0

    desk.pass_time(60)

    (await worker.claim(later)).complete()


async def test_the_version_is_chosen_at_the_start_unless_the_trigger_names_one(desk: Desk) -> None:
    old = await desk.worker("digest-1")
    offer = await desk.engine.catalogue.offer(desk.place.environment.id)
    assert offer is not None
    pinned = await desk.trigger(delay=60.0, concurrency_key="a", version=offer.version.name)
    free = await desk.trigger(delay=60.0, concurrency_key="b")
    new = await desk.worker("digest-2")

    desk.pass_time(60)

    kept, moved = await old.claim(pinned), await new.claim(free)
    assert (kept.claim.facts.version, moved.claim.facts.version[-2:]) == (offer.version.name, ".2")
    for claimed in (kept, moved):
        claimed.complete()


async def test_the_code_is_told_what_the_trigger_said_and_children_inherit_none_of_it(
    desk: Desk,
) -> None:
    worker = await desk.worker()
    run = await worker.claim(
        await desk.trigger(
            tags=("a",),
            metadata='{"m":1}',
            is_test=True,
            max_attempts=9,
            max_duration=600.0,
            machine="large-1x",
            priority=3.0,
            concurrency_key="k",
        )
    )
    called = await run.call("trigger:job#0", "trigger", Trigger(task="job"))
    child = await worker.claim(called.runs[0].run_id)

    told, inherited = run.claim.facts, child.claim.facts
    assert (told.tags, run.claim.metadata, told.is_test) == (("a",), '{"m":1}', True)
    assert msgspec.json.decode(run.claim.retry, type=RetryPolicy).max_attempts == 9
    assert (told.max_attempts, told.max_duration, told.machine) == (9, 600.0, "large-1x")
    assert (told.priority, told.concurrency_key, run.claim.executor) == (3.0, "k", "dedicated")
    assert (inherited.tags, child.claim.metadata, inherited.is_test) == ((), "{}", False)
    assert (inherited.machine, inherited.priority, inherited.concurrency_key) == (None, 0.0, None)
    assert inherited.parent == run.run
    for claimed in (child, run):
        claimed.complete()
