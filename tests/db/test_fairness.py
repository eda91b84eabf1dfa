"""A tenant's share of a queue does not grow with the keys it spreads its work over."""

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from engines import Platform
from fake_worker import FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.protocol.manifests import QueueManifest
from outlast.protocol.triggers import Trigger

OFFERED = manifest("job", queue="q", queues=(QueueManifest("q"),))


@pytest.fixture
async def engine(place: Platform) -> AsyncIterator[Engine]:
    engine = await place.server()
    await engine.catalogue.register(place.environment.id, OFFERED)
    yield engine
    assert await engine._audit.environment(place.environment.id) == []


async def served(engine: Engine, place: Platform, *, slots: int, most: int) -> list[str]:
    """Claim and complete `most` runs on a worker of so many slots; return the keys in order."""
    worker = await FakeWorker.open(engine, place.environment, OFFERED, shared=slots)
    keys: list[str] = []
    while len(keys) < most:
        run = await worker.claim()
        keys.append(run.claim.facts.concurrency_key or "")
        run.complete()
    return keys


def many_keys(group: str | None, runs: int = 2) -> list[Trigger]:
    return [
        Trigger(task="job", concurrency_key=f"many-{n}", fairness_group=group)
        for _ in range(runs)
        for n in range(100)
    ]


def one_key(runs: int) -> list[Trigger]:
    return [Trigger(task="job", concurrency_key="one") for _ in range(runs)]


@pytest.mark.parametrize("slots", [1, 10])
async def test_a_tenant_with_a_hundred_keys_is_served_like_one_with_a_single_key(
    place: Platform, engine: Engine, slots: int
) -> None:
    await engine.trigger(place.environment, many_keys("many"))
    await engine.trigger(place.environment, one_key(100))

    keys = await served(engine, place, slots=slots, most=100)

    count = Counter("one" if key == "one" else "many" for key in keys)
    assert abs(count["one"] - count["many"]) <= 2 * slots + 2


async def test_without_a_group_every_key_has_a_share_of_its_own(
    place: Platform, engine: Engine
) -> None:
    await engine.trigger(place.environment, many_keys(None))
    await engine.trigger(place.environment, one_key(100))

    keys = await served(engine, place, slots=1, most=100)

    assert keys.count("one") <= 2


async def test_the_keys_of_a_group_take_turns(place: Platform, engine: Engine) -> None:
    await engine.trigger(place.environment, many_keys("many"))

    keys = await served(engine, place, slots=1, most=100)

    assert len(set(keys)) == 100


async def test_a_late_key_of_a_busy_group_stands_behind_its_siblings(
    place: Platform, engine: Engine
) -> None:
    await engine.trigger(place.environment, many_keys("many"))
    await engine.trigger(place.environment, one_key(300))
    await engine.trigger(
        place.environment, [Trigger(task="job", concurrency_key="late", fairness_group="many")]
    )

    keys = await served(engine, place, slots=1, most=190)

    assert "late" not in keys
    assert abs(keys.count("one") - 95) <= 2


async def test_a_group_may_be_named_later(place: Platform, engine: Engine) -> None:
    await engine.trigger(place.environment, [Trigger(task="job", concurrency_key="a")])
    await engine.trigger(
        place.environment, [Trigger(task="job", concurrency_key="a", fairness_group="team")]
    )

    [key] = await engine.queues.keys(
        place.environment.id, await engine.queues.retrieve(place.environment.id, "q"), limit=10
    )

    assert (key.key, key.fairness_group, key.queued) == ("a", "team", 2)
