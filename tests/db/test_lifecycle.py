"""Runs from trigger to end, through the real engine and a worker made of frames."""

import asyncio

import msgspec
import pytest

from engines import Platform, platform
from fake_worker import FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.engine.errors import Refused
from outlast.engine.turn import NewRun, Resumption
from outlast.protocol.frames import Kind, frame
from outlast.protocol.manifests import QueueManifest
from outlast.protocol.messages import Crash, Held, Step
from outlast.protocol.outcomes import Outcome, RunError
from outlast.protocol.triggers import Trigger


async def test_a_run_is_triggered_claimed_and_completed(place: Platform, engine: Engine) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("hello"))

    [made] = await engine.trigger(place.environment, [Trigger(task="hello", payload='{"a":1}')])
    run = await worker.claim(made.run_id)
    run.complete('"done"')

    assert run.claim.resume == "fresh"
    assert run.claim.payload == '{"a":1}'
    assert run.claim.facts.attempt == 1
    assert await engine.ends.wait(place.environment.id, made.run_id, 5)


async def test_a_parent_waits_for_its_child_without_a_slot(place: Platform, engine: Engine) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("parent", "child"))
    [made] = await engine.trigger(place.environment, [Trigger(task="parent")])
    parent = await worker.claim(made.run_id)

    called = await parent.call("child:child#0", "child", Trigger(task="child"))
    assert await parent.suspend("child:child#0")
    child = await worker.claim(called.runs[0].run_id)
    child.complete("42")
    resumed = await worker.claim(made.run_id)

    assert resumed.claim.resume == "warm"
    assert resumed.token > parent.token
    [entry] = resumed.claim.entries
    assert entry.outcome is not None
    assert (entry.outcome.ok, entry.outcome.value) == (True, "42")
    resumed.complete()
    assert await engine.ends.wait(place.environment.id, made.run_id, 5)


async def test_a_child_that_ended_before_the_suspend_says_go_on(
    place: Platform, engine: Engine
) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("parent", "child"))
    [made] = await engine.trigger(place.environment, [Trigger(task="parent")])
    parent = await worker.claim(made.run_id)
    called = await parent.call("child:child#0", "child", Trigger(task="child"))
    child = await worker.claim(called.runs[0].run_id)
    child.complete("42")

    outcome = await parent.result("child:child#0")

    assert outcome.value == "42"
    assert not await parent.suspend("child:child#0")
    parent.complete()


async def test_a_lane_of_limit_one_never_has_two_claimed_and_keys_run_in_parallel(
    place: Platform, engine: Engine
) -> None:
    offered = manifest("job", queue="q", queues=(QueueManifest("q", concurrency_limit=1),))
    worker = await FakeWorker.open(engine, place.environment, offered)

    await engine.trigger(
        place.environment,
        [Trigger(task="job", concurrency_key=key) for key in "aaabbbccc"],
    )
    first = [await worker.claim() for _ in range(3)]

    assert sorted(run.claim.facts.concurrency_key or "" for run in first) == ["a", "b", "c"]
    assert worker.claims_waiting == 0
    for _ in range(6):
        done = first.pop(0)
        done.complete()
        following = await worker.claim()
        assert following.claim.facts.concurrency_key == done.claim.facts.concurrency_key
        first.append(following)
    for run in first:
        run.complete()
        await engine.ends.wait(place.environment.id, run.run, 5)


async def test_a_key_with_a_thousand_queued_runs_delays_another_by_at_most_one(
    place: Platform, engine: Engine
) -> None:
    offered = manifest("job", queue="q", queues=(QueueManifest("q"),))
    await engine.catalogue.register(place.environment.id, offered)
    noisy = [Trigger(task="job", concurrency_key="noisy") for _ in range(1000)]
    await engine.trigger(place.environment, noisy)
    worker = await FakeWorker.open(engine, place.environment, offered, shared=1)
    running = await worker.claim()

    [quiet] = await engine.trigger(
        place.environment, [Trigger(task="job", concurrency_key="quiet")]
    )
    order = []
    for _ in range(3):
        running.complete()
        running = await worker.claim()
        order.append(running.run)

    assert quiet.run_id in order[:2]


async def test_a_failed_attempt_is_retried_with_its_journal(
    place: Platform, engine: Engine
) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    first = await worker.claim(made.run_id)
    await first.step("step:a#0", '"kept"')

    first.fail(retry_in=0.05)
    second = await worker.claim(made.run_id)

    assert second.claim.facts.attempt == 2
    assert second.claim.resume == "fresh"
    assert [e.key for e in second.claim.entries] == ["step:a#0"]
    second.complete()
    assert await engine.ends.wait(place.environment.id, made.run_id, 5)


async def test_a_recorded_step_wins_over_a_second_one(place: Platform, engine: Engine) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    run = await worker.claim(made.run_id)

    first = await run.step("step:a#0", "1")
    second = await run.step("step:a#0", "2")

    assert (first.value, second.value) == ("1", "1")
    run.complete()


async def test_an_idempotency_key_answers_with_the_run_there_is(
    place: Platform, engine: Engine
) -> None:
    await engine.catalogue.register(place.environment.id, manifest("job"))
    same = Trigger(task="job", idempotency_key="k" * 64)

    [a, b] = await engine.trigger(place.environment, [same, same])
    [c] = await engine.trigger(place.environment, [same])

    assert (a.is_cached, b.is_cached, c.is_cached) == (False, True, True)
    assert a.run_id == b.run_id == c.run_id


async def test_a_repeated_request_makes_no_second_run(place: Platform, engine: Engine) -> None:
    await engine.catalogue.register(place.environment.id, manifest("job"))
    same = Trigger(task="job", request_key="request-1")

    [a] = await engine.trigger(place.environment, [same])
    [b] = await engine.trigger(place.environment, [same])

    assert a.run_id == b.run_id
    assert not b.is_cached


async def test_cancel_ends_queued_runs_at_once_and_asks_executing_ones(
    place: Platform, engine: Engine
) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"), shared=1)
    [busy, queued] = await engine.trigger(place.environment, [Trigger(task="job")] * 2)
    run = await worker.claim(busy.run_id)

    await engine.cancel(place.environment, queued.run_id)
    await engine.cancel(place.environment, busy.run_id)

    assert await engine.ends.wait(place.environment.id, queued.run_id, 5)
    await worker.next(lambda f: f.kind == Kind.CANCEL and f.run == busy.run_id)
    run.fail("canceled", retry_in=0.01)
    assert await engine.ends.wait(place.environment.id, busy.run_id, 5)
    rows = await place.sql("select status from outlast.run_state")
    assert {row["status"] for row in rows} == {"canceled"}


async def test_a_batch_of_children_resolves_when_all_ended(place: Platform, engine: Engine) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("parent", "child"))
    [made] = await engine.trigger(place.environment, [Trigger(task="parent")])
    parent = await worker.claim(made.run_id)

    called = await parent.call(
        "batch:child#0",
        "batch",
        Trigger(task="child"),
        Trigger(task="nobody"),
        Trigger(task="child"),
    )
    assert await parent.suspend("batch:child#0")
    for triggered in (called.runs[2], called.runs[0]):
        (await worker.claim(triggered.run_id)).complete(f'"{triggered.run_id}"')
    resumed = await worker.claim(made.run_id)

    assert called.runs[1].error is not None
    [entry] = resumed.claim.entries
    assert entry.outcome is not None
    assert entry.outcome.members is not None
    assert [m.ok for m in entry.outcome.members] == [True, False, True]
    assert entry.outcome.members[0].value == f'"{called.runs[0].run_id}"'
    resumed.complete()


async def test_a_time_wait_resumes_when_it_is_due(place: Platform, engine: Engine) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    run = await worker.claim(made.run_id)

    await run.call("wait:for#0", "wait", seconds=0.2)
    assert await run.suspend("wait:for#0")
    resumed = await worker.claim(made.run_id)

    assert resumed.claim.resume == "warm"
    resumed.complete()


async def test_a_lost_worker_gives_its_runs_to_another_on_the_same_attempt(
    place: Platform, engine: Engine
) -> None:
    first = await FakeWorker.open(engine, place.environment, manifest("job"))
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    run = await first.claim(made.run_id)
    await run.step("step:a#0", '"kept"')
    second = await FakeWorker.open(engine, place.environment, manifest("job"), session="session_b")

    await engine.gateway.close("session_a", goodbye=True)
    again = await second.claim(made.run_id)

    assert again.claim.resume == "cold"
    assert again.claim.facts.attempt == 1
    assert [e.key for e in again.claim.entries] == ["step:a#0"]
    again.complete()


async def test_a_run_that_is_handed_back_again_and_again_is_no_suspect(
    place: Platform, engine: Engine
) -> None:
    """A long run meets many deploys: a goodbye is no loss of its worker."""
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    for number in range(5):
        await worker.claim(made.run_id)
        await engine.gateway.close(worker.hello.session, goodbye=True)
        worker = await FakeWorker.open(
            engine, place.environment, manifest("job"), session=f"session_{number}"
        )

    run = await worker.claim(made.run_id)

    [row] = await place.sql("select rescues, suspect, attempt from outlast.run_state")
    assert (row["rescues"], row["suspect"], row["attempt"]) == (0, None, 1)
    run.complete()


async def test_a_stale_token_is_refused_and_told_to_drop(place: Platform, engine: Engine) -> None:
    first = await FakeWorker.open(engine, place.environment, manifest("job"))
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    stale = await first.claim(made.run_id)
    second = await FakeWorker.open(engine, place.environment, manifest("job"), session="session_b")
    await place.sql("update outlast.session set lost_at = now() where id = 'session_a'")
    await engine._sweep.run_once()
    again = await second.claim(made.run_id)

    stale.send(Kind.STEP, Step("step:z#0", "step", "z", 1, Outcome(True, "9")))

    assert await first.dropped(made.run_id) == stale.token
    again.complete()
    assert await place.sql("select * from outlast.entry") == []


async def test_poison_costs_only_its_own_item(place: Platform, engine: Engine) -> None:
    await engine.catalogue.register(place.environment.id, manifest("job"))
    cycle = engine.cycles.of(place.environment.id)
    answers = await engine.admission.admit(place.environment, [Trigger(task="job")] * 499)
    admitted = [one for one in answers if isinstance(one, NewRun)]
    poison = msgspec.structs.replace(admitted[0], run="run_poison", payload="\x00")
    asks = [cycle.ask(item) for item in (*admitted[:250], poison, *admitted[250:])]

    tellings = await asyncio.gather(*asks, return_exceptions=True)

    assert sum(isinstance(told, BaseException) for told in tellings) == 1
    [row] = await place.sql("select count(*) from outlast.run")
    assert row["count"] == 499


async def test_a_step_that_cannot_be_stored_fails_its_run_readably(
    place: Platform, engine: Engine
) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    [bad, good] = await engine.trigger(place.environment, [Trigger(task="job")] * 2)
    first, second = await worker.claim(bad.run_id), await worker.claim(good.run_id)

    first.send(Kind.STEP, Step("step:a#0", "step", "a\x00", 1, Outcome(True, "1")))
    recorded = await second.step("step:a#0", "2")
    second.complete()

    assert recorded.value == "2"
    assert await worker.dropped(bad.run_id) == first.token
    assert await engine.ends.wait(place.environment.id, bad.run_id, 5)
    [row] = await place.sql(
        "select status, error from outlast.run_end where run_id = $1", bad.run_id
    )
    assert row["status"] == "system_failure"
    assert "STEP could not be applied" in row["error"]


async def test_a_write_that_only_the_database_refuses_fails_its_run_and_no_other(
    place: Platform, engine: Engine
) -> None:
    """A defect of ours is no bad data, and no reason for the writer of all runs to stop."""
    await place.sql(
        "create function outlast.refuse() returns trigger language plpgsql as $$"
        " begin raise sqlstate 'OL999' using message = 'a defect'; end $$"
    )
    await place.sql(
        "create trigger refuse before insert on outlast.entry for each row"
        " when (new.name = 'bad') execute function outlast.refuse()"
    )
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    [bad, good] = await engine.trigger(place.environment, [Trigger(task="job")] * 2)
    first, second = await worker.claim(bad.run_id), await worker.claim(good.run_id)

    first.send(Kind.STEP, Step("step:bad#0", "step", "bad", 1, Outcome(True, "1")))
    recorded = [await second.step(f"step:a#{n}", "2", n) for n in (1, 2)]
    second.complete()

    assert [outcome.value for outcome in recorded] == ["2", "2"]
    assert await worker.dropped(bad.run_id) == first.token
    assert await engine.ends.wait(place.environment.id, bad.run_id, 5)
    assert await engine.ends.wait(place.environment.id, good.run_id, 5)
    rows = await place.sql("select status from outlast.run_end order by status")
    assert [row["status"] for row in rows] == ["completed", "system_failure"]


async def test_what_a_dead_executor_had_sent_counts_before_its_death(
    place: Platform, engine: Engine
) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    run = await worker.claim(made.run_id)

    run.send(Kind.STEP, Step("step:a#0", "step", "a", 1, Outcome(True, "1")))
    run.complete('"finished"')
    death = RunError(kind="crashed", type="ExecutorDied", message="signal 9")
    worker.send(frame(Kind.CRASH, Crash((Held(run.run, run.token),), None, death)))

    assert await engine.ends.wait(place.environment.id, made.run_id, 5)
    [row] = await place.sql("select status from outlast.run_state")
    assert row["status"] == "completed"


async def test_results_and_cancels_reach_a_worker_of_another_server(place: Platform) -> None:
    one, two = await place.server(), await place.server()
    parents = await FakeWorker.open(one, place.environment, manifest("parent", "child"), shared=1)
    [made] = await one.trigger(place.environment, [Trigger(task="parent")])
    parent = await parents.claim(made.run_id)
    children = await FakeWorker.open(
        two, place.environment, manifest("parent", "child"), session="session_b"
    )

    called = await parent.call("child:child#0", "child", Trigger(task="child"))
    child = await children.claim(called.runs[0].run_id)
    child.complete("42")
    outcome = await parent.result("child:child#0")
    await two.cancel(place.environment, made.run_id)
    await parents.next(lambda f: f.kind == Kind.CANCEL and f.run == made.run_id)

    assert outcome.value == "42"
    parent.fail("stopped")
    assert await one.ends.wait(place.environment.id, made.run_id, 5)


async def test_a_worker_that_moves_to_another_server_keeps_its_runs(place: Platform) -> None:
    one, two = await place.server(), await place.server()
    worker = await FakeWorker.open(one, place.environment, manifest("job"))
    [made] = await one.trigger(place.environment, [Trigger(task="job")])
    run = await worker.claim(made.run_id)

    await one.gateway.close("session_a", goodbye=False)
    await worker.connect(two)
    recorded = await run.step("step:a#0", "1")
    run.complete()

    assert recorded.value == "1"
    assert await two.ends.wait(place.environment.id, made.run_id, 5)
    [row] = await place.sql("select attempt, token, rescues from outlast.run_state")
    assert (row["attempt"], row["rescues"]) == (1, 0)


async def test_a_pinned_run_goes_on_with_the_current_version_when_nobody_offers_its_own(
    fresh_url: str,
) -> None:
    async with platform(fresh_url, "prod") as place:
        engine = await place.server()
        engine._versions._grace = 0.0
        old = await FakeWorker.open(engine, place.environment, manifest("job"))
        [made] = await engine.trigger(place.environment, [Trigger(task="job")])
        run = await old.claim(made.run_id)
        await run.step("step:a#0", "1")
        new = await FakeWorker.open(
            engine, place.environment, manifest("job", digest="digest-2"), session="session_b"
        )

        await engine.gateway.close("session_a", goodbye=True)
        await engine.cycles.of(place.environment.id).ask(Resumption(run=made.run_id))
        assert new.claims_waiting == 0
        await engine._versions.run_once()
        again = await new.claim(made.run_id)

        assert again.claim.resume == "cold"
        assert again.claim.facts.version.endswith(".2")
        again.complete()
        assert await engine.ends.wait(place.environment.id, made.run_id, 5)
        events = await place.sql("select kind from outlast.event order by number")
        assert [event["kind"] for event in events] == ["rescued", "version left"]


async def test_runs_of_a_crashed_executor_run_alone_until_the_guilty_one_is_known(
    place: Platform, engine: Engine
) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"), dedicated=1)
    made = await engine.trigger(place.environment, [Trigger(task="job")] * 3)
    runs = [await worker.claim(one.run_id) for one in made]
    death = RunError(kind="crashed", type="ExecutorDied", message="signal 11")
    held = tuple(Held(run.run, run.token) for run in runs)
    for run in runs:
        worker.forget(run)

    worker.send(frame(Kind.CRASH, Crash(held, None, death)))
    suspect = await worker.claim()
    waiting = worker.claims_waiting
    worker.forget(suspect)
    guilty = (Held(suspect.run, suspect.token),)
    worker.send(frame(Kind.CRASH, Crash(guilty, suspect.run, death)))
    cleared = [await worker.claim(), await worker.claim()]

    assert suspect.claim.executor == "dedicated"
    assert suspect.claim.resume == "cold"
    assert waiting == 0
    assert [run.claim.executor for run in cleared] == ["shared", "shared"]
    assert {run.claim.facts.attempt for run in cleared} == {1}
    for run in cleared:
        run.complete()
    again = await worker.claim(suspect.run)
    assert (again.claim.executor, again.claim.facts.attempt) == ("dedicated", 2)
    again.complete()
    assert await engine.ends.wait(place.environment.id, suspect.run, 5)


async def test_a_run_that_works_too_long_is_ended_and_dropped(
    place: Platform, engine: Engine
) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    [long, short] = await engine.trigger(
        place.environment,
        [Trigger(task="job", max_duration=5), Trigger(task="job", max_duration=3600)],
    )
    run, other = await worker.claim(long.run_id), await worker.claim(short.run_id)
    await place.sql("update outlast.run_state set entered_at = entered_at - interval '21 seconds'")

    assert await engine._limits.run_once() == 1

    assert await worker.dropped(long.run_id) == run.token
    assert await engine.ends.wait(place.environment.id, long.run_id, 5)
    [row] = await place.sql("select status, error from outlast.run_end")
    assert row["status"] == "timed_out"
    assert "MaxDurationExceeded" in row["error"]
    worker.forget(run)
    other.complete()


async def test_a_journal_too_large_for_the_link_fails_its_run_and_says_what_to_do(
    place: Platform, engine: Engine
) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    run = await worker.claim(made.run_id)
    for number in range(5):
        run.send(
            Kind.STEP,
            Step(
                f"step:{number}#0", "step", "x", number + 1, Outcome(True, f'"{"x" * 4_000_000}"')
            ),
        )
    second = await FakeWorker.open(engine, place.environment, manifest("job"), session="session_b")

    await engine.gateway.close("session_a", goodbye=True)

    assert await engine.ends.wait(place.environment.id, made.run_id, 10)
    [row] = await place.sql("select status, error from outlast.run_end")
    assert row["status"] == "system_failure"
    assert "return ids" in row["error"]
    assert second.claims_waiting == 0


async def test_a_place_taken_up_by_a_run_that_ended_is_given_back(
    place: Platform, engine: Engine
) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"), shared=1)
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    run = await worker.claim(made.run_id)
    session = engine._workers.sessions.get("session_a")
    assert session is not None
    held = session.executing[made.run_id]
    run.complete()
    assert await engine.ends.wait(place.environment.id, made.run_id, 5)
    session.hold(made.run_id, held)  # as if its claim had been heard of after its end

    await worker.beat()

    assert session.free("shared") == 1


async def test_a_worker_whose_name_no_database_takes_is_refused(
    place: Platform, engine: Engine
) -> None:
    with pytest.raises(Refused, match="NUL"):
        await FakeWorker.open(engine, place.environment, manifest("job"), session="session_\0")


async def test_only_a_run_that_waits_is_given_time_to_start(
    place: Platform, engine: Engine
) -> None:
    """One that the turn which made it claimed has started: nothing is to be watched."""
    worker = await FakeWorker.open(engine, place.environment, manifest("hello"), shared=1)
    made = await engine.trigger(place.environment, [Trigger(task="hello", ttl=60.0)] * 2)
    [claimed, waits] = [one.run_id for one in made]
    run = await worker.claim(claimed)

    timers = await place.sql("select ref, kind from outlast.timer")
    assert [tuple(timer) for timer in timers] == [(waits, "ttl")]
    run.complete()
    await worker.claim(waits)
