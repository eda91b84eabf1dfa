"""A queue's rate is exact over servers and restarts: it lives in the database, by its clock."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from engines import Clock, Platform, platform
from fake_worker import Claimed, FakeWorker, manifest
from outlast import Queue
from outlast.engine.engine import Engine
from outlast.protocol.triggers import Trigger
from outlast.sdk.registry import registry

START = datetime(2026, 1, 1, tzinfo=UTC)
BURST = 20
INTERVAL = 0.6  # of 100 a minute


CLOCK = Clock()


@pytest.fixture
async def place(fresh_url: str) -> AsyncIterator[Platform]:
    CLOCK.now = START
    async with platform(fresh_url, "prod", CLOCK) as found:
        yield found


async def trigger(place: Platform, server: Engine, key: str, count: int) -> None:
    wanted = Trigger(task="job", concurrency_key=key)
    made = await server.trigger(place.environment, [wanted] * count)
    assert all(one.error is None for one in made)


async def started(
    place: Platform, worker: FakeWorker, claims: list[Claimed], *servers: Engine
) -> int:
    """Let every server play a turn; return how many runs have started so far."""
    for server in servers:
        later = Trigger(task="later", delay=86_400.0)  # answered by the turn that makes it
        await server.trigger(place.environment, [later])
    [row] = await place.sql("select count(*) as starts from outlast.run_state where attempt > 0")
    while len(claims) < row["starts"]:
        claims.append(await worker.claim())
    await worker.beat()
    assert worker.claims_waiting == 0
    return len(claims)


@pytest.mark.parametrize("per", ["key", "queue"])
async def test_a_burst_starts_and_then_one_per_interval_whichever_server_asks(
    place: Platform, per: str
) -> None:
    with registry.isolated():
        declared = Queue("stripe", rate="100/m", burst=BURST, rate_per=per).manifest()  # type: ignore[arg-type]
    offered = manifest("job", "later", queue="stripe", queues=(declared,))
    first, second = await place.server(), await place.server()
    worker = await FakeWorker.open(second, place.environment, offered, shared=1000)
    lanes = 2 if per == "key" else 1
    for key in "ab":
        for server in (first, second):
            await trigger(place, server, key, BURST)
    claims: list[Claimed] = []

    assert await started(place, worker, claims, first, second) == BURST * lanes
    for number in (1, 2, 3):
        CLOCK.now = START + timedelta(seconds=INTERVAL * number - 0.01)
        assert await started(place, worker, claims, first, second) == (BURST + number - 1) * lanes
        CLOCK.now = START + timedelta(seconds=INTERVAL * number)
        assert await started(place, worker, claims, second, first) == (BURST + number) * lanes
        # The worker's server ends; the next one knows nothing but what is stored.
        await second.close()
        second = await place.server()
        await worker.connect(second)
        assert await started(place, worker, claims, second, first) == (BURST + number) * lanes
    for claimed in claims[:10]:
        claimed.complete()
        assert await second.ends.wait(place.environment.id, claimed.run, 5)
    starts = await started(place, worker, claims, first, second)
    assert starts == (BURST + 3) * lanes  # what has ended gives no start back


async def test_a_quiet_queue_saves_up_no_more_than_its_burst(place: Platform) -> None:
    with registry.isolated():
        declared = Queue("stripe", rate="100/m", burst=3).manifest()
    offered = manifest("job", "later", queue="stripe", queues=(declared,))
    server = await place.server()
    worker = await FakeWorker.open(server, place.environment, offered, shared=1000)
    claims: list[Claimed] = []
    await trigger(place, server, "a", 1)
    assert await started(place, worker, claims, server) == 1
    CLOCK.now += timedelta(hours=1)

    await trigger(place, server, "a", 10)

    assert await started(place, worker, claims, server) == 1 + 3
