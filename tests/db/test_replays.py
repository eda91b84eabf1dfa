"""Runs that the code at hand cannot replay: parked with the difference until code fits again."""

import pytest

from engines import Platform
from fake_worker import Claimed, FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.engine.errors import Conflict
from outlast.protocol.frames import Kind
from outlast.protocol.messages import Empty, Fail
from outlast.protocol.outcomes import RunError
from outlast.protocol.triggers import Trigger

WHY = "call 1 of the task was step:a#0 when it ran before, the code now makes it step:b#0"


async def test_a_parked_run_goes_on_when_older_code_comes_back(
    place: Platform, engine: Engine
) -> None:
    fits, differs = manifest("job", digest="fits"), manifest("job", digest="differs")
    first = await FakeWorker.open(engine, place.environment, fits)
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    await (await first.claim(made.run_id)).step("step:a#0")
    await engine.gateway.close(first.hello.session, goodbye=True)
    second = await FakeWorker.open(engine, place.environment, differs, session="session_b")
    await _park(engine, place, await second.claim(made.run_id))

    third = await FakeWorker.open(engine, place.environment, fits, session="session_c")

    run = await third.claim(made.run_id)
    assert [entry.key for entry in run.claim.entries] == ["step:a#0"]
    run.complete()
    assert await engine.ends.wait(place.environment.id, made.run_id, 5)


async def test_a_worker_with_the_same_code_does_not_try_again_but_resume_does(
    place: Platform, engine: Engine
) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    await _park(engine, place, await worker.claim(made.run_id))

    other = await FakeWorker.open(engine, place.environment, manifest("job"), session="session_b")
    assert await engine.runs.parked(place.environment.id) == []
    assert worker.claims_waiting + other.claims_waiting == 0
    await engine.gateway.close(other.hello.session, goodbye=True)
    await engine.resume(place.environment, made.run_id)

    (await worker.claim(made.run_id)).complete()
    assert await engine.ends.wait(place.environment.id, made.run_id, 5)


async def test_only_a_parked_run_is_resumed(place: Platform, engine: Engine) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    run = await worker.claim(made.run_id)

    with pytest.raises(Conflict, match=f"run {made.run_id} is .*; only one that could not replay"):
        await engine.resume(place.environment, made.run_id)

    run.complete()
    assert await engine.ends.wait(place.environment.id, made.run_id, 5)
    with pytest.raises(Conflict, match="is completed"):
        await engine.resume(place.environment, made.run_id)


async def _park(engine: Engine, place: Platform, run: Claimed) -> None:
    """Say that the run cannot replay, as an executor does, and see that it stands there so."""
    run.worker.forget(run)
    error = RunError(kind="replay", type="NonDeterministicReplayError", message=WHY)
    await run.ack(run.send(Kind.FAIL, Fail(error)), Empty)
    found = await engine.runs.retrieve(place.environment.id, run.run)
    assert found.status == "waiting"
    assert WHY in (await engine.runs.standing(place.environment.id, run.run) or "")
