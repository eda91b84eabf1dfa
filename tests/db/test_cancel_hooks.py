"""Canceled runs whose code wants to hear of it go to a worker once more, whatever they did."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from engines import Platform, platform
from fake_worker import Claimed, FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.engine.errors import InvalidRequest, NotFound
from outlast.protocol.frames import Kind, frame
from outlast.protocol.manifests import Manifest, QueueManifest
from outlast.protocol.messages import Crash, Held
from outlast.protocol.outcomes import RunError
from outlast.protocol.triggers import Trigger


class Clock:
    """The time of turns; None: the database's own."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime | None:
        return datetime.now(UTC) + self.ahead if self.ahead else None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def place(fresh_url: str, clock: Clock) -> AsyncIterator[Platform]:
    async with platform(fresh_url, clock=clock) as made:
        yield made


async def test_a_queued_run_goes_to_a_worker_for_its_hooks_though_its_lane_is_full(
    place: Platform, engine: Engine
) -> None:
    """The limit of its queue is 1 and taken; its cancel does not wait for that."""
    worker = await FakeWorker.open(engine, place.environment, offered("work", limit=1))
    busy, queued = await triggered(engine, place, 2)
    running = await worker.claim(busy)

    await engine.cancel(place.environment, queued)
    asked = await worker.claim(queued)

    assert asked.claim.cancel == "canceled by request"
    assert (asked.claim.resume, asked.claim.facts.attempt) == ("cold", 0)
    asked.fail("canceled")
    assert await status_at_end(engine, place, queued) == "canceled"
    running.complete()
    assert await status_at_end(engine, place, busy) == "completed"


async def test_neither_a_pause_nor_a_full_environment_holds_a_cancel_back(
    place: Platform, engine: Engine
) -> None:
    """Nor does the cancel count towards the limit of others."""
    worker = await FakeWorker.open(engine, place.environment, offered("work"))
    await place.sql("update outlast.environment set concurrency_limit = 1, burst_factor = 1")
    busy, first, second = await triggered(engine, place, 3)
    running = await worker.claim(busy)

    await engine.cancel(place.environment, first)
    (await worker.claim(first)).fail("canceled")
    assert await status_at_end(engine, place, first) == "canceled"
    await engine.queues.change_environment(place.environment.id, paused=True)
    running.complete()
    await engine.cancel(place.environment, second)
    asked = await worker.claim(second)
    await engine.queues.change_environment(place.environment.id, paused=False)
    [other] = await triggered(engine, place, 1)
    (await worker.claim(other)).complete()
    asked.fail("canceled")

    assert await status_at_end(engine, place, second) == "canceled"


async def test_a_parked_run_is_asked_once_its_task_is_declared(
    place: Platform, engine: Engine
) -> None:
    """Its queue is not, so it stays parked; its task says what executes it."""
    plain = offered("work")
    tasks = tuple(msgspec.structs.replace(each, executor="dedicated") for each in plain.tasks)
    worker = await FakeWorker.open(
        engine, place.environment, msgspec.structs.replace(plain, tasks=tasks), shared=0
    )
    wanted = Trigger(task="work", queue="later", park=True)
    [parked] = await engine.trigger(place.environment, [wanted])
    assert await status_is(place, parked.run_id, "pending_version")

    await engine.cancel(place.environment, parked.run_id)
    asked = await worker.claim(parked.run_id)

    assert (asked.claim.cancel, asked.claim.facts.attempt) == ("canceled by request", 0)
    asked.fail("canceled")
    assert await status_at_end(engine, place, parked.run_id) == "canceled"


async def test_a_parked_run_of_an_unknown_task_is_canceled_at_once(
    place: Platform, engine: Engine
) -> None:
    [parked] = await engine.trigger(place.environment, [Trigger(task="later", park=True)])

    await engine.cancel(place.environment, parked.run_id)

    assert await status_at_end(engine, place, parked.run_id) == "canceled"


async def test_the_queue_of_cancels_is_no_queue_of_anyone(place: Platform, engine: Engine) -> None:
    """It is not listed, cannot be paused, and takes no trigger: it would know no limit."""
    worker = await FakeWorker.open(engine, place.environment, offered("work", limit=1))
    busy, queued = await triggered(engine, place, 2)
    await worker.claim(busy)
    await engine.cancel(place.environment, queued)
    (await worker.claim(queued)).fail("canceled")
    assert await status_at_end(engine, place, queued) == "canceled"

    queues, count = await engine.queues.page(place.environment.id, limit=100)
    assert ([queue.name for queue in queues], count) == (["q", "task/work"], 2)
    with pytest.raises(NotFound):
        await engine.queues.retrieve(place.environment.id, "outlast/cancel")
    wanted = Trigger(task="work", queue="outlast/cancel")
    [made] = await engine.trigger(place.environment, [wanted])
    assert made.error is not None
    assert made.error.code == "unknown_queue"
    with pytest.raises(InvalidRequest, match="kept for the system"):
        await FakeWorker.open(
            engine,
            place.environment,
            manifest("work", queue="outlast/cancel", queues=(QueueManifest("outlast/cancel"),)),
            session="session_b",
        )


async def test_a_waiting_run_is_asked_where_it_is_parked(place: Platform, engine: Engine) -> None:
    """Its coroutine can unwind there, then its hooks run."""
    worker = await FakeWorker.open(engine, place.environment, offered("work"))
    [run] = await triggered(engine, place, 1)
    parked = await waiting(await worker.claim(run))

    await engine.cancel(place.environment, run)
    asked = await worker.claim(run)

    assert parked.token < asked.token
    assert (asked.claim.resume, asked.claim.cancel) == ("warm", "canceled by request")
    asked.fail("canceled")
    assert await status_at_end(engine, place, run) == "canceled"


async def test_a_delayed_and_a_retrying_run_are_asked_too(place: Platform, engine: Engine) -> None:
    """Neither begins an attempt for it."""
    worker = await FakeWorker.open(engine, place.environment, offered("work"))
    [delayed] = await engine.trigger(place.environment, [Trigger(task="work", delay=3600)])
    [retrying] = await triggered(engine, place, 1)
    (await worker.claim(retrying)).fail(retry_in=3600)
    async with asyncio.timeout(10):
        while not await status_is(place, retrying, "retrying"):  # noqa: ASYNC110 - a row tells nobody
            await asyncio.sleep(0.01)

    for run, attempt in ((delayed.run_id, 0), (retrying, 1)):
        await engine.cancel(place.environment, run)
        asked = await worker.claim(run)
        assert asked.claim.facts.attempt == attempt
        asked.fail("canceled")
        assert await status_at_end(engine, place, run) == "canceled"


async def test_a_second_cancel_changes_nothing(place: Platform, engine: Engine) -> None:
    """The run waits for a worker, then as before."""
    [run] = await triggered_unserved(engine, place)

    await engine.cancel(place.environment, run)
    await engine.cancel(place.environment, run)

    [row] = await place.sql("select status, cancel_at from outlast.run_state")
    assert row["status"] == "queued"
    assert row["cancel_at"] is not None


async def test_without_a_worker_the_run_ends_after_thirty_seconds_and_says_so(
    place: Platform, engine: Engine, clock: Clock
) -> None:
    """Nothing is silently lost: an event tells that the hooks did not run."""
    [run] = await triggered_unserved(engine, place)
    await engine.cancel(place.environment, run)

    clock.ahead = timedelta(seconds=31)
    await triggered(engine, place, 1)

    assert await status_at_end(engine, place, run) == "canceled"
    kinds = [row["kind"] for row in await place.sql("select kind from outlast.event")]
    assert kinds == ["cancel hooks missed"]


async def test_a_run_whose_worker_is_lost_while_it_unwinds_is_asked_again(
    place: Platform, engine: Engine
) -> None:
    """Its hooks run elsewhere, under a new token."""
    worker = await FakeWorker.open(engine, place.environment, offered("work"))
    [run] = await triggered(engine, place, 1)
    unwinding = await worker.claim(run)
    await engine.cancel(place.environment, run)
    worker.forget(unwinding)

    death = RunError("crashed", "ExecutorDied", "killed")
    worker.send(frame(Kind.CRASH, Crash((Held(run, unwinding.token),), None, death)))
    asked = await worker.claim(run)

    assert (asked.claim.cancel, asked.claim.resume) == ("canceled by request", "cold")
    asked.fail("canceled")
    assert await status_at_end(engine, place, run) == "canceled"


async def test_children_are_canceled_whatever_they_do(place: Platform, engine: Engine) -> None:
    """Waited for or forgotten, queued, waiting or executing, however deep."""
    worker = await FakeWorker.open(engine, place.environment, manifest("work", "child"))
    [root] = await triggered(engine, place, 1)
    parent = await worker.claim(root)
    forgotten = await parent.call("trigger:child#0", "trigger", Trigger(task="child"))
    awaited = await parent.call("child:child#0", "child", Trigger(task="child"))
    delayed = await parent.call("trigger:child#1", "trigger", Trigger(task="child", delay=3600))
    executing = await worker.claim(forgotten.runs[0].run_id)
    middle = await worker.claim(awaited.runs[0].run_id)
    deep = await middle.call("wait:for#0", "wait", seconds=3600.0)
    assert deep.refusal is None
    assert await middle.suspend("wait:for#0")

    await engine.cancel(place.environment, root)
    parent.fail("canceled")
    executing.fail("canceled")

    for run in (root, executing.run, middle.run, delayed.runs[0].run_id):
        assert await status_at_end(engine, place, run) == "canceled"


def offered(task: str, limit: int | None = None) -> Manifest:
    """Return a manifest whose tasks have hooks for their cancel."""
    plain = manifest(task, queue="q", queues=(QueueManifest(name="q", concurrency_limit=limit),))
    return msgspec.structs.replace(
        plain, tasks=tuple(msgspec.structs.replace(each, on_cancel=True) for each in plain.tasks)
    )


async def triggered(engine: Engine, place: Platform, count: int) -> list[str]:
    made = await engine.trigger(place.environment, [Trigger(task="work")] * count)
    return [each.run_id for each in made]


async def triggered_unserved(engine: Engine, place: Platform) -> list[str]:
    """Trigger a run while the only worker has no room."""
    await FakeWorker.open(engine, place.environment, offered("work"), shared=0, dedicated=0)
    return await triggered(engine, place, 1)


async def waiting(run: Claimed) -> Claimed:
    await run.call("wait:for#0", "wait", seconds=3600.0)
    assert await run.suspend("wait:for#0")
    return run


async def status_is(place: Platform, run: str, status: str) -> bool:
    [row] = await place.sql("select status from outlast.run_state where run_id = $1", run)
    return bool(row["status"] == status)


async def status_at_end(engine: Engine, place: Platform, run: str) -> str:
    assert await engine.ends.wait(place.environment.id, run, 10)
    [row] = await place.sql("select status from outlast.run_end where run_id = $1", run)
    return str(row["status"])
