"""Restarts in the engine: one next generation, whatever the last one left open."""

import json
from collections.abc import AsyncIterator

import msgspec
import pytest

from engines import Platform, platform
from fake_worker import Claimed, FakeWorker, manifest
from outlast.engine.audit import Audit
from outlast.engine.engine import Engine
from outlast.protocol.frames import Kind, frame
from outlast.protocol.manifests import RetryPolicy
from outlast.protocol.messages import Crash, Delivered, Empty, Held, Restart
from outlast.protocol.outcomes import RunError
from outlast.protocol.statuses import Status
from outlast.protocol.triggers import Trigger

TWICE = RetryPolicy(max_attempts=2, min_timeout=0, randomize=False)


@pytest.fixture
async def worker(place: Platform, engine: Engine) -> AsyncIterator[FakeWorker]:
    made = await FakeWorker.open(engine, place.environment, manifest("job", "leaf", retry=TWICE))
    yield made
    assert await Audit(engine.database).run_once() == []


async def started(worker: FakeWorker, **options: object) -> Claimed:
    trigger = Trigger(task="job", payload="1", **options)  # type: ignore[arg-type]
    [made] = await worker.engine.trigger(worker.environment, [trigger])
    return await worker.claim(made.run_id)


async def restarted(run: Claimed, payload: str = "2") -> Claimed:
    run.restart(payload)
    return await run.worker.claim(run.run)


def die(run: Claimed) -> None:
    run.worker.forget(run)
    crash = Crash((Held(run.run, run.token),), run.run, RunError("crashed", "ProcessDied", "11"))
    run.worker.send(frame(Kind.CRASH, crash))


async def status(worker: FakeWorker, run: str) -> Status:
    assert await worker.engine.ends.wait(worker.environment.id, run, 5)
    return (await worker.engine.runs.retrieve(worker.environment.id, run)).status


async def count(place: Platform, table: str) -> int:
    [row] = await place.sql(f"select count(*) from outlast.{table}")
    return int(row[0])


async def test_the_next_generation_has_its_payload_and_an_empty_journal(
    place: Platform, worker: FakeWorker
) -> None:
    run = await started(worker)
    await run.step("step:a#0")

    again = await restarted(run)

    facts = again.claim.facts
    assert (facts.run_id, facts.generation, facts.attempt) == (run.run, 2, 1)
    assert facts.attempt_of_run == 2
    assert (again.claim.resume, again.claim.payload, again.claim.entries) == ("fresh", "2", ())
    assert again.claim.seed != run.claim.seed
    assert await count(place, "entry") == 0
    again.complete("3")
    assert await status(worker, run.run) is Status.COMPLETED
    detail = await worker.engine.runs.detail(worker.environment.id, run.run)
    assert (detail.run.generation, detail.contents.payload) == (2, "2")
    events = await worker.engine.runs.events(worker.environment.id, run.run)
    assert [(each.kind, each.detail) for each in events] == [("restarted", "generation 2")]


async def test_a_restart_that_is_heard_twice_begins_one_generation(
    place: Platform, worker: FakeWorker
) -> None:
    run = await started(worker)
    again = await restarted(run)

    assert await run.ack(run.send(Kind.RESTART, Restart("9")), Empty) == Empty()

    [row] = await place.sql("select generation, token from outlast.run_state")
    assert tuple(row) == (2, again.token)
    again.complete()
    assert await status(worker, run.run) is Status.COMPLETED


async def test_attempts_are_counted_anew(worker: FakeWorker) -> None:
    run = await started(worker)
    die(run)
    run = await worker.claim(run.run)
    assert run.claim.facts.attempt == 2

    run = await restarted(run)
    assert (run.claim.facts.attempt, run.claim.facts.attempt_of_run) == (1, 3)
    die(run)
    run = await worker.claim(run.run)
    assert (run.claim.facts.generation, run.claim.facts.attempt) == (2, 2)
    die(run)

    assert await status(worker, run.run) is Status.CRASHED
    detail = await worker.engine.runs.detail(worker.environment.id, run.run)
    assert [failure.attempt for failure in detail.failures] == [1, 3, 4]


async def test_a_suspect_runs_beside_others_again(worker: FakeWorker) -> None:
    run = await started(worker)
    worker.forget(run)
    held, error = (Held(run.run, run.token),), RunError("crashed", "ProcessDied", "9")
    worker.send(frame(Kind.CRASH, Crash(held, None, error)))
    run = await worker.claim(run.run)
    assert run.claim.executor == "dedicated"

    run = await restarted(run)

    assert run.claim.executor == "shared"
    run.complete()
    assert await status(worker, run.run) is Status.COMPLETED


async def test_a_cancel_that_was_asked_for_wins(worker: FakeWorker) -> None:
    run = await started(worker)
    await worker.engine.cancel(worker.environment, run.run)

    run.restart("2")

    assert await status(worker, run.run) is Status.CANCELED
    found = await worker.engine.runs.retrieve(worker.environment.id, run.run)
    assert found.generation == 1


async def test_a_generation_that_queues_can_be_canceled(place: Platform, engine: Engine) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"), shared=1)
    run = await started(worker)
    await worker.engine.trigger(worker.environment, [Trigger(task="job", priority=3600)])
    run.restart("2")
    other = await worker.claim()
    assert other.run != run.run

    await engine.cancel(place.environment, run.run)

    assert await status(worker, run.run) is Status.CANCELED
    other.complete()
    assert await status(worker, other.run) is Status.COMPLETED


async def test_a_parent_waits_for_the_end_of_the_last_generation(worker: FakeWorker) -> None:
    run = await started(worker)
    called = await run.call("child:leaf#0", "child", Trigger(task="leaf"))
    leaf = await worker.claim(called.runs[0].run_id)

    again = await restarted(leaf)
    again.complete('"done"')

    assert (await run.result("child:leaf#0")).value == '"done"'
    run.complete()
    assert await status(worker, run.run) is Status.COMPLETED


async def test_what_an_earlier_generation_waited_for_answers_the_next_one_nothing(
    place: Platform, worker: FakeWorker
) -> None:
    run = await started(worker)
    first = await run.call("child:leaf#0", "child", Trigger(task="leaf", payload='"first"'))
    await run.call("wait:for#0", "wait", seconds=0.2)
    leaf = await worker.claim(first.runs[0].run_id)

    again = await restarted(run)
    second = await again.call("child:leaf#0@2", "child", Trigger(task="leaf", payload='"second"'))
    await again.call("wait:for#0@2", "wait", seconds=3600)
    assert second.runs[0].run_id != leaf.run
    leaf.complete('"first"')
    assert await status(worker, leaf.run) is Status.COMPLETED
    other = await worker.claim(second.runs[0].run_id)
    other.complete('"second"')

    assert (await again.result("child:leaf#0@2")).value == '"second"'
    left = 1
    while left:  # the timer of the earlier generation fires
        [[left]] = await place.sql("select count(*) from outlast.timer where key = 'wait:for#0'")
    [row] = await place.sql("select outcome from outlast.entry where key = 'wait:for#0@2'")
    assert row["outcome"] is None
    again.complete()
    assert await status(worker, run.run) is Status.COMPLETED


async def test_messages_that_nobody_read_are_the_next_ones(
    place: Platform, worker: FakeWorker
) -> None:
    async def send(text: str) -> None:
        data = json.dumps(text)
        await worker.engine.streams.send(worker.environment.id, run.run, "in", data, message=text)

    run = await started(worker)
    for text in ("read", "crossed"):
        await send(text)
    for n in range(3):  # one is read, one is given and does not arrive, one waits
        await run.call(f"stream:in#{n}", "stream", target="in")
    delivered = Delivered((("stream:in#0", 1),), ("stream:in#2",))
    await run.ack(run.send(Kind.DELIVERED, delivered), Empty)
    environment, queues = worker.environment.id, worker.engine.queues
    await queues.change_environment(environment, paused=True)
    run.restart("2")
    await send("late")  # the journal of before is still there
    assert await count(place, "entry") == 3
    await queues.change_environment(environment, paused=False)
    again = await worker.claim(run.run)

    for n, text in enumerate(("crossed", "late")):
        await again.call(f"stream:in#{n}@2", "stream", target="in")
        assert (await again.result(f"stream:in#{n}@2")).value == json.dumps(text)
    assert await count(place, "input_message") == 2
    again.complete()
    assert await status(worker, run.run) is Status.COMPLETED


async def test_a_large_payload_replaces_the_large_one_before(
    place: Platform, worker: FakeWorker
) -> None:
    run = await started(worker)
    payloads = [json.dumps(letter * 20_000) for letter in "ab"]
    for payload in payloads:
        run = await restarted(run, payload)
        assert run.claim.payload == payload
    assert await count(place, "blob") == 1

    run = await restarted(run, "4")

    assert run.claim.payload == "4"
    assert await count(place, "blob") == 0
    run.complete()
    assert await status(worker, run.run) is Status.COMPLETED


@pytest.mark.parametrize("payload", ['"' + 4_000_000 * "x" + '"', "no json", '"\\ud800'])
async def test_a_payload_that_cannot_be_stored_fails_the_run(
    worker: FakeWorker, payload: str
) -> None:
    run = await started(worker)
    run.restart(payload)

    assert await status(worker, run.run) is Status.FAILED
    detail = await worker.engine.runs.detail(worker.environment.id, run.run)
    error = msgspec.json.decode(detail.contents.error or "{}", type=RunError)
    assert error.kind == "payload"
    assert error.message.startswith("it cannot begin again: ")


async def test_a_replay_begins_with_the_payload_of_the_last_generation(worker: FakeWorker) -> None:
    run = await restarted(await started(worker))
    run.complete()
    assert await status(worker, run.run) is Status.COMPLETED

    original = await worker.engine.replays.original(worker.environment.id, run.run)

    assert original.payload == "2"


async def test_the_next_generation_begins_on_the_current_version(fresh_url: str) -> None:
    async with platform(fresh_url, "prod") as prod:
        server = await prod.server()
        old = await FakeWorker.open(server, prod.environment, manifest("job"), session="session_o")
        run = await started(old)
        pinned = await started(old, version=run.claim.facts.version)
        new = await FakeWorker.open(
            server, prod.environment, manifest("job", digest="digest-2"), session="session_n"
        )
        for each in (run, pinned):
            each.restart("2")

        (await new.claim(run.run)).complete()
        (await old.claim(pinned.run)).complete()

        for each in (run, pinned):
            assert await status(new, each.run) is Status.COMPLETED
