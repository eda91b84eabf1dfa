"""Waits and waitpoint tokens in the turn: who completes first, who is told, and what time ends."""

import asyncio
from typing import Any

import msgspec
import pytest

from engines import Platform
from fake_worker import Claimed, FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.engine.errors import NotFound
from outlast.protocol import messages
from outlast.protocol.messages import MadeToken, NewToken
from outlast.protocol.outcomes import Outcome
from outlast.protocol.triggers import Trigger

SLEEPERS = 3_000
PORTION = 500


@pytest.fixture
async def worker(place: Platform, engine: Engine) -> FakeWorker:
    return await FakeWorker.open(engine, place.environment, manifest("job"))


async def started(worker: FakeWorker) -> Claimed:
    [made] = await worker.engine.trigger(worker.environment, [Trigger(task="job")])
    return await worker.claim(made.run_id)


async def called(run: Claimed, kind: str, **options: object) -> messages.Called:
    """Make a call under a key that is named after its kind."""
    return await run.call(f"{kind}#0", kind, **options)


def entry_of(run: Claimed, key: str) -> Outcome:
    [outcome] = [entry.outcome for entry in run.claim.entries if entry.key == key]
    assert outcome is not None
    return outcome


async def pass_time(place: Platform, kind: str) -> None:
    """Make every timer of a kind due."""
    await place.sql("update outlast.timer set due_at = now() where kind = $1", kind)


async def test_completing_a_token_resumes_the_run_that_waits_for_it(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    token, _ = await engine.waitpoints.create(place.environment.id, NewToken())
    run = await started(worker)
    await called(run, "token", target=token.id)
    assert await run.suspend("token#0")

    await engine.waitpoints.complete(place.environment.id, token.id, '{"ok":true}')
    resumed = await worker.claim(run.run)

    assert entry_of(resumed, "token#0") == Outcome(True, '{"ok":true}')
    assert await place.sql("select from outlast.timer where kind = 'token'") == []
    assert await place.sql("select from outlast.waiter") == []


async def test_every_run_that_waits_for_a_token_goes_on(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    token, _ = await engine.waitpoints.create(place.environment.id, NewToken())
    runs = [await started(worker) for _ in range(3)]
    for run in runs:
        await called(run, "token", target=token.id)
        assert await run.suspend("token#0")

    await engine.waitpoints.complete(place.environment.id, token.id, "1")

    for run in runs:
        assert entry_of(await worker.claim(run.run), "token#0").value == "1"


async def test_a_token_that_is_completed_already_is_no_wait(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    token, _ = await engine.waitpoints.create(place.environment.id, NewToken())
    await engine.waitpoints.complete(place.environment.id, token.id, "7")
    run = await started(worker)

    await called(run, "token", target=token.id)

    assert (await run.result("token#0")).value == "7"
    assert not await run.suspend("token#0")


async def test_a_token_that_nobody_completes_times_out(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    """Whoever waits is told, and a completion that comes later changes nothing."""
    token, _ = await engine.waitpoints.create(place.environment.id, NewToken(timeout=3600))
    run = await started(worker)
    await called(run, "token", target=token.id)
    assert await run.suspend("token#0")

    await pass_time(place, "token")
    engine.cycles.wake(place.environment.id)
    outcome = entry_of(await worker.claim(run.run), "token#0")
    await engine.waitpoints.complete(place.environment.id, token.id, "1")
    late = await engine.waitpoints.retrieve(place.environment.id, token.id)

    assert outcome.error is not None
    assert (outcome.error.kind, outcome.error.type) == ("timed_out", "WaitpointTimeout")
    assert outcome.error.message.startswith("Waitpoint timed out at 2")
    assert (late.status, late.output) == ("timed_out", None)


async def test_a_token_whose_end_completes_it_does_not_time_out(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    """Whoever waits goes on, as with one that somebody completed."""
    token, _ = await engine.waitpoints.create(
        place.environment.id, NewToken(timeout=3600), completes=True
    )
    run = await started(worker)
    await called(run, "token", target=token.id)
    assert await run.suspend("token#0")

    await pass_time(place, "token")
    engine.cycles.wake(place.environment.id)
    outcome = entry_of(await worker.claim(run.run), "token#0")

    assert outcome == Outcome(True, None)
    ended = await engine.waitpoints.retrieve(place.environment.id, token.id)
    assert (ended.status, ended.output) == ("completed", None)


async def test_a_wait_for_a_token_has_a_timeout_of_its_own(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    """The token stays open for others."""
    token, _ = await engine.waitpoints.create(place.environment.id, NewToken())
    run = await started(worker)
    await called(run, "token", target=token.id, timeout=3600.0)
    assert await run.suspend("token#0")

    await pass_time(place, "timeout")
    engine.cycles.wake(place.environment.id)
    outcome = entry_of(await worker.claim(run.run), "token#0")

    assert outcome.error is not None
    assert outcome.error.kind == "timed_out"
    open_token = await engine.waitpoints.retrieve(place.environment.id, token.id)
    assert open_token.status == "waiting"
    await engine.waitpoints.complete(place.environment.id, token.id, "1")


@pytest.mark.parametrize("kind", ["child", "batch"])
async def test_waiting_for_children_has_a_timeout_and_they_go_on(
    place: Platform, engine: Engine, worker: FakeWorker, kind: str
) -> None:
    run = await started(worker)
    made = await run.call("k#0", kind, Trigger(task="job"), timeout=3600.0)
    child = await worker.claim(made.runs[0].run_id)
    assert await run.suspend("k#0")

    await pass_time(place, "timeout")
    engine.cycles.wake(place.environment.id)
    outcome = entry_of(await worker.claim(run.run), "k#0")
    child.complete("1")

    assert outcome.error is not None
    assert outcome.error.kind == "timed_out"
    assert await engine.ends.wait(place.environment.id, child.run, 5)


async def test_a_token_of_another_environment_is_not_found(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    elsewhere = await engine.tenancy.environment("proj_test", "prod")
    token, _ = await engine.waitpoints.create(elsewhere.id, NewToken())
    run = await started(worker)

    answer = await called(run, "token", target=token.id)

    assert answer.refusal is not None
    assert (answer.refusal.status, answer.refusal.code) == (404, "not_found")
    with pytest.raises(NotFound):
        await engine.waitpoints.complete(place.environment.id, token.id, "1")
    entries = await place.sql("select from outlast.entry where run_id = $1", run.run)
    assert entries == []


async def test_a_task_makes_a_token_once_however_often_it_asks(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    """A repeated frame and a cold resume get the same token, which opens nothing from the store."""
    run = await started(worker)
    first = await called(run, "waitpoint", new=NewToken(tags=("a",)))
    again = await called(run, "waitpoint", new=NewToken(tags=("a",)))
    await called(run, "token", target=token_in(first.outcome).id)
    assert await run.suspend("token#0")
    await place.sql("update outlast.run_state set session_id = null where run_id = $1", run.run)
    await engine.waitpoints.complete(place.environment.id, token_in(first.outcome).id, "1")
    cold = await worker.claim(run.run)

    assert cold.claim.resume == "cold"
    assert first.outcome == again.outcome == entry_of(cold, "waitpoint#0")
    secret = token_in(first.outcome).url.rpartition("/")[2]
    assert await engine.waitpoints.check_callback(token_in(first.outcome).id, secret)
    stored = await place.sql("select e::text as text from outlast.entry e")
    assert all(secret not in row["text"] for row in stored)
    assert len(await place.sql("select from outlast.waitpoint")) == 1


def token_in(outcome: Outcome | None) -> MadeToken:
    assert outcome is not None
    return msgspec.json.decode(outcome.value or "", type=MadeToken)


async def test_a_token_that_cannot_be_is_refused_in_the_code(
    place: Platform, worker: FakeWorker
) -> None:
    run = await started(worker)

    answer = await called(run, "waitpoint", new=NewToken(tags=("",)))

    assert answer.refusal is not None
    assert answer.refusal.param == "tags"
    run.complete()


async def test_of_equal_keys_in_one_turn_the_first_makes_the_token(
    place: Platform, engine: Engine
) -> None:
    wanted = NewToken(idempotency_key="k")

    made = [await engine.waitpoints.create(place.environment.id, wanted) for _ in range(3)]

    assert len({waitpoint.id for waitpoint, _ in made}) == 1
    assert [is_cached for _, is_cached in made] == [False, True, True]


async def test_waits_with_one_key_end_when_the_first_of_them_does(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    """A later attempt or another run goes on with the first wait, until the key expires."""
    keyed: dict[str, Any] = {"seconds": 3600.0, "idempotency_key": "k", "idempotency_key_ttl": 60.0}
    first = await started(worker)
    await called(first, "wait", **keyed)
    assert await first.suspend("wait#0")
    await place.sql("update outlast.wait_key set due_at = now() - interval '1 second'")
    second = await started(worker)

    await called(second, "wait", **keyed)
    assert (await second.result("wait#0")).ok
    await place.sql("update outlast.wait_key set expires_at = now() - interval '1 second'")
    third = await started(worker)
    await called(third, "wait", **keyed)

    assert await third.suspend("wait#0")


async def test_runs_due_at_one_instant_hold_up_nobody_for_longer_than_a_turn(
    place: Platform, engine: Engine
) -> None:
    """They wake in portions; what another tenant triggers meanwhile is claimed in its own turn."""
    worker = await FakeWorker.open(engine, place.environment, manifest("job"), shared=2 * SLEEPERS)
    await place.sql("update outlast.environment set concurrency_limit = $1", 2 * SLEEPERS)
    sleeper = await started(worker)
    await called(sleeper, "wait", seconds=86_400.0)
    assert await sleeper.suspend("wait#0")
    await multiply(place, sleeper.run, SLEEPERS - 1)

    await place.sql("update outlast.timer set due_at = now() where kind = 'wait'")
    engine.cycles.wake(place.environment.id)
    async with asyncio.timeout(30):
        n = 0
        while await place.sql("select from outlast.run_state where status = 'waiting' limit 1"):
            await engine.trigger(
                place.environment, [Trigger(task="job", concurrency_key=f"tenant {n}")]
            )
            n += 1

    woken = await place.sql(  # what one turn does happens at one moment
        "select count(*)::int as n from outlast.entry where kind = 'wait' group by finished_at"
    )
    assert sum(row["n"] for row in woken) == SLEEPERS
    assert max(row["n"] for row in woken) <= PORTION
    claims = await place.sql(
        "select count(*)::int as n from outlast.run_state "
        "where run_id like $1 || 'x%' and status in ('dequeued', 'executing') group by entered_at",
        sleeper.run,
    )
    assert 0 < max(row["n"] for row in claims) <= PORTION
    [row] = await place.sql(
        "select count(*) as made, count(*) filter (where started_at = created_at) as claimed "
        "from outlast.run r join outlast.run_state s on s.run_id = r.id "
        "where r.concurrency_key like 'tenant %'"
    )
    assert row["made"] == row["claimed"] == n > 0


async def multiply(place: Platform, run: str, count: int) -> None:
    """Make copies of a run that waits, with its entry and its timer."""
    for table, key in (("run", "id"), ("run_state", "run_id"), ("entry", "run_id")):
        await place.sql(
            f"""
            insert into outlast.{table}
            select (jsonb_populate_record(t, jsonb_build_object('{key}', '{run}x' || n))).*
            from outlast.{table} t, generate_series(1, $2) n where t.{key} = $1
            """,
            run,
            count,
        )
    await place.sql(
        """
        insert into outlast.timer
        select t.environment_id, t.due_at, t.kind, t.ref || 'x' || n, t.key
        from outlast.timer t, generate_series(1, $2) n where t.ref = $1
        """,
        run,
        count,
    )
