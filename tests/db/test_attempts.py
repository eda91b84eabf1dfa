"""Attempts in the engine: what failed is kept, machines change, each attempt has its own clock."""

import pytest

from engines import Platform
from fake_worker import Claimed, FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.protocol.frames import Kind, frame
from outlast.protocol.manifests import RetryPolicy
from outlast.protocol.messages import Crash, Fail, Held
from outlast.protocol.outcomes import SUSPECTED, RunError
from outlast.protocol.statuses import Status
from outlast.protocol.triggers import Trigger

AT_ONCE = RetryPolicy(min_timeout=0, out_of_memory="large-1x")
NO_MEMORY = RunError("out_of_memory", "OutOfMemory", "too big", line="job.py:3 in job")


async def claimed(place: Platform, engine: Engine, policy: RetryPolicy = AT_ONCE) -> Claimed:
    worker = await FakeWorker.open(engine, place.environment, manifest("job", retry=policy))
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    return await worker.claim(made.run_id)


def fail(run: Claimed, error: RunError, retry_in: float | None, machine: str | None = None) -> None:
    run.worker.forget(run)
    run.send(Kind.FAIL, Fail(error, retry_in, machine=machine))


def die(run: Claimed, error: RunError) -> None:
    run.worker.forget(run)
    crash = Crash((Held(run.run, run.token),), run.run, error)
    run.worker.send(frame(Kind.CRASH, crash))


async def status(place: Platform, engine: Engine, run: str) -> Status:
    assert await engine.ends.wait(place.environment.id, run, 5)
    return (await engine.runs.retrieve(place.environment.id, run)).status


async def test_a_run_that_lacked_memory_goes_on_alone_on_its_machine(
    place: Platform, engine: Engine
) -> None:
    run = await claimed(place, engine)
    assert (run.claim.executor, run.claim.facts.machine) == ("shared", None)

    fail(run, NO_MEMORY, 0.0, "large-1x")
    again = await run.worker.claim(run.run)

    assert (again.claim.executor, again.claim.facts.machine) == ("dedicated", "large-1x")
    assert again.claim.facts.attempt == 2
    again.complete()
    assert await status(place, engine, run.run) is Status.COMPLETED


async def test_a_process_out_of_memory_is_tried_once_on_the_larger_machine(
    place: Platform, engine: Engine
) -> None:
    run = await claimed(place, engine)
    die(run, NO_MEMORY)
    again = await run.worker.claim(run.run)
    assert again.claim.facts.machine == "large-1x"

    die(again, NO_MEMORY)

    assert await status(place, engine, run.run) is Status.CRASHED


async def test_a_suspected_lack_of_memory_is_a_crash_like_others(
    place: Platform, engine: Engine
) -> None:
    run = await claimed(place, engine, RetryPolicy(min_timeout=0, max_attempts=2))
    die(run, RunError("out_of_memory", SUSPECTED, "SIGKILL"))
    again = await run.worker.claim(run.run)
    assert (again.claim.facts.attempt, again.claim.facts.machine) == (2, None)

    again.complete()
    assert await status(place, engine, run.run) is Status.COMPLETED


async def test_a_process_ended_for_its_time_is_not_retried(place: Platform, engine: Engine) -> None:
    run = await claimed(place, engine)

    die(run, RunError("timed_out", "MaxDurationExceeded", "worked too long"))

    assert await status(place, engine, run.run) is Status.TIMED_OUT


async def test_every_failed_attempt_is_told_with_its_error(place: Platform, engine: Engine) -> None:
    run = await claimed(place, engine)
    fail(run, RunError("raised", "OSError", "first"), 0.0)
    again = await run.worker.claim(run.run)
    fail(again, RunError("aborted", "AbortTaskRunError", "second"), None)
    assert await status(place, engine, run.run) is Status.FAILED

    found = await engine.runs.detail(place.environment.id, run.run)

    assert [failure.attempt for failure in found.failures] == [1, 2]
    assert ["first" in found.failures[0].error, "second" in found.failures[1].error] == [True, True]


async def test_a_new_attempt_has_its_whole_time(place: Platform, engine: Engine) -> None:
    """What an attempt worked before a wait counts, what earlier attempts worked does not."""
    run = await claimed(place, engine)
    await place.sql("update outlast.run_state set entered_at = entered_at - interval '1 hour'")
    fail(run, RunError("raised", "OSError", "no"), 0.0)
    again = await run.worker.claim(run.run)
    assert again.claim.spent == pytest.approx(0, abs=1)
    assert await engine._limits.run_once() == 0

    await place.sql("update outlast.run_state set entered_at = entered_at - interval '10 minutes'")
    await again.call("wait:for#0", "wait", seconds=0.0)
    if await again.suspend("wait:for#0"):
        again = await run.worker.claim(run.run)
        assert again.claim.spent == pytest.approx(600, abs=5)
    again.complete()
    assert await status(place, engine, run.run) is Status.COMPLETED


@pytest.mark.parametrize(("asked", "given"), [(1.0, 5.0), (60.0, 60.0), (1e8, 1e8)])
async def test_a_triggers_max_duration_is_at_least_five_seconds(
    place: Platform, engine: Engine, asked: float, given: float
) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    [made] = await engine.trigger(place.environment, [Trigger(task="job", max_duration=asked)])
    run = await worker.claim(made.run_id)

    assert run.claim.facts.max_duration == given
    run.complete()
    assert await engine.ends.wait(place.environment.id, made.run_id, 5)
