"""Debounced triggers: one delayed run for many, pushed back by each of them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
import pytest

from engines import Clock, Platform, platform
from fake_worker import FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.protocol.triggers import Debounce, Trigger, Triggered


class Desk:
    """An engine whose time the test owns, and a worker."""

    def __init__(self, place: Platform, engine: Engine, clock: Clock) -> None:
        self.place = place
        self.engine = engine
        self.clock = clock

    async def push(self, payload: str = "1", **options: object) -> Triggered:
        debounce = Debounce(
            key="k",
            delay=options.pop("delay", 10.0),  # type: ignore[arg-type]
            trailing=bool(options.pop("trailing", False)),
            max_delay=options.pop("max_delay", None),  # type: ignore[arg-type]
        )
        trigger = Trigger(task="hello", payload=payload, debounce=debounce)
        [made] = await self.engine.trigger(
            self.place.environment, [msgspec.structs.replace(trigger, **options)]
        )
        return made

    async def due(self, run: str) -> float:
        """Return seconds from the beginning to the one timer that starts the run."""
        [row] = await self.place.sql(
            "select due_at from outlast.timer where ref = $1 and kind = 'delay'", run
        )
        seconds: float = (row["due_at"] - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds()
        return seconds


@pytest.fixture
async def desk(fresh_url: str) -> AsyncIterator[Desk]:
    clock = Clock()
    async with platform(fresh_url, "prod", clock) as place:
        engine = await place.server()
        await engine.catalogue.register(place.environment.id, manifest("hello"))
        yield Desk(place, engine, clock)
        assert await engine._audit.environment(place.environment.id) == []


async def test_a_trigger_with_the_key_pushes_the_run_back(desk: Desk) -> None:
    first = await desk.push("1")
    desk.clock.advance(6)
    second = await desk.push("2")

    assert (second.run_id, second.is_cached) == (first.run_id, True)
    assert not first.is_cached
    assert await desk.due(first.run_id) == 16


async def test_the_first_payload_counts_when_leading_and_the_last_when_trailing(desk: Desk) -> None:
    first = await desk.push("1", tags=("a",), max_attempts=2)
    await desk.push("2", tags=("b",))
    [row] = await desk.place.sql(
        "select payload, tags from outlast.run where id = $1", first.run_id
    )
    assert (row["payload"], row["tags"]) == ("1", ["a"])

    await desk.push(
        "3", trailing=True, tags=("c",), metadata='{"m":1}', max_attempts=7, machine="large-1x"
    )

    [row] = await desk.place.sql("select * from outlast.run where id = $1", first.run_id)
    assert (row["payload"], row["tags"], row["metadata"]) == ("3", ["c"], '{"m":1}')
    assert msgspec.json.decode(row["retry"])["max_attempts"] == 7
    assert (row["machine"], row["executor"]) == ("large-1x", "dedicated")
    desk.clock.advance(11)
    worker = await FakeWorker.open(
        desk.engine, desk.place.environment, manifest("hello"), shared=1, dedicated=1
    )
    claimed = await worker.claim(first.run_id)
    assert (claimed.claim.payload, claimed.claim.executor) == ("3", "dedicated")


async def test_the_longest_delay_counts_from_the_first_trigger(desk: Desk) -> None:
    first = await desk.push(max_delay=25.0)
    for _ in range(4):
        desk.clock.advance(6)
        assert (await desk.push(max_delay=25.0)).run_id == first.run_id

    assert await desk.due(first.run_id) == 25


async def test_a_shorter_delay_never_pulls_the_run_forward(desk: Desk) -> None:
    first = await desk.push(delay=100.0)
    await desk.push(delay=1.0)

    assert await desk.due(first.run_id) == 100


async def test_a_run_that_has_started_is_pushed_no_more(desk: Desk) -> None:
    first = await desk.push()
    desk.clock.advance(11)
    desk.engine.cycles.wake(desk.place.environment.id)
    worker = await FakeWorker.open(desk.engine, desk.place.environment, manifest("hello"))
    await worker.claim(first.run_id)

    second = await desk.push()

    assert second.run_id != first.run_id
    rows = await desk.place.sql("select run_id from outlast.debounce")
    assert [row["run_id"] for row in rows] == [second.run_id]


async def test_many_triggers_of_one_turn_make_one_run(desk: Desk) -> None:
    debounce = Debounce(key="k", delay=5, trailing=True)
    triggers = [Trigger(task="hello", payload=str(n), debounce=debounce) for n in range(50)]

    made = await desk.engine.trigger(desk.place.environment, triggers)

    assert len({one.run_id for one in made}) == 1
    assert [one.is_cached for one in made].count(False) == 1
    [row] = await desk.place.sql("select payload from outlast.run")
    assert row["payload"] == "49"


async def test_keys_belong_to_their_task(desk: Desk) -> None:
    await desk.engine.catalogue.register(
        desk.place.environment.id, manifest("hello", "other", digest="digest-2")
    )
    first = await desk.push()
    [other] = await desk.engine.trigger(
        desk.place.environment, [Trigger(task="other", debounce=Debounce(key="k", delay=10))]
    )

    assert other.run_id != first.run_id


async def test_an_idempotency_key_beats_the_debounce(desk: Desk) -> None:
    first = await desk.push(idempotency_key="a" * 64)
    desk.clock.advance(5)
    second = await desk.push(idempotency_key="a" * 64)

    assert (second.run_id, second.is_cached) == (first.run_id, True)
    assert await desk.due(first.run_id) == 10


async def test_keys_are_deleted_by_the_clock_that_they_live_by(desk: Desk) -> None:
    """Not by the machine's: durable time may be another one."""
    first = await desk.push(idempotency_key="a" * 64, request_key="once")

    await desk.engine.retention.run_once()

    assert (await desk.push(idempotency_key="a" * 64)).run_id == first.run_id
    assert await desk.due(first.run_id) == 10
    [kept] = await desk.place.sql("select right(key, 4) as key from outlast.request")
    assert kept["key"] == "once"


async def test_a_push_leaves_its_own_idempotency_key_behind(desk: Desk) -> None:
    first = await desk.push()
    await desk.push(idempotency_key="b" * 64)
    desk.clock.advance(5)

    again = await desk.push(idempotency_key="b" * 64)

    assert again.run_id == first.run_id
    assert await desk.due(first.run_id) == 10


async def test_a_canceled_run_is_pushed_no_more(desk: Desk) -> None:
    first = await desk.push()
    await desk.engine.cancel(desk.place.environment, first.run_id)

    assert (await desk.push()).run_id != first.run_id


async def test_a_longest_delay_that_is_shorter_than_the_delay_is_refused(desk: Desk) -> None:
    made = await desk.push(delay=10.0, max_delay=5.0)

    assert made.error is not None
    assert (made.error.param, "longer than its delay" in made.error.message) == ("debounce", True)
