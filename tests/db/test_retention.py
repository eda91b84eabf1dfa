"""What is old goes with everything that is its own, and nothing else does."""

import asyncpg
import pytest

from engines import Platform
from fake_worker import Claimed, FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.engine.errors import Conflict, InvalidRequest, NotFound
from outlast.engine.filters import RunFilters
from outlast.engine.retention import ELSEWHERE, IN_DEV
from outlast.protocol.frames import Kind
from outlast.protocol.messages import NewToken
from outlast.protocol.streams import Append, Appended, Chunk
from outlast.protocol.triggers import Trigger

FUTURE = 4_102_444_800_000  # 2100: every id is older, whatever its environment keeps
BELONGING = """
select c.table_name from information_schema.columns c
join information_schema.tables t using (table_schema, table_name)
where c.table_schema = 'outlast' and c.column_name = 'run_id' and t.table_type = 'BASE TABLE'
"""


@pytest.fixture
async def worker(place: Platform, engine: Engine) -> FakeWorker:
    return await FakeWorker.open(engine, place.environment, manifest("job"))


async def age(place: Platform, days: int) -> None:
    """Make everything older: ids carry the time, so a later moment is played instead."""
    await place.sql(
        "update outlast.run_end set finished_at = finished_at - make_interval(days => $1)", days
    )


async def prune(engine: Engine, place: Platform) -> int:
    """Prune as if the ids were old: the floor of the ids is what tests cannot wait for."""
    return await engine.retention.run_once(moment=FUTURE)


async def ended(worker: FakeWorker, **options: object) -> str:
    """Return a run that has ended."""
    [made] = await worker.engine.trigger(worker.environment, [Trigger(task="job", **options)])  # type: ignore[arg-type]
    return await end(await worker.claim(made.run_id))


async def end(run: Claimed) -> str:
    run.complete()
    assert await run.worker.engine.ends.wait(run.worker.environment.id, run.run, 5)
    return run.run


async def left(place: Platform, table: str) -> set[str]:
    """Return the runs that have rows in a table."""
    return {row[0] for row in await place.sql(f"select distinct run_id from outlast.{table}")}


async def write(place: Platform, run: str, lines: int = 1) -> None:
    await place.sql(
        "insert into outlast.log (run_id, at, level, message)"
        " select $1, now(), 'info', 'line' from generate_series(1, $2::int)",
        run,
        lines,
    )


async def append(run: Claimed) -> None:
    await run.ack(run.send(Kind.APPEND, Append((Chunk("", 1, "log", "1", "self"),))), Appended)


async def test_an_ended_run_goes_with_all_that_is_its_own(engine: Engine, place: Platform) -> None:
    """Whatever table has a `run_id`, also one that another concept brings later."""
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    big = Trigger(
        task="job",
        payload='"' + "x" * 20_000 + '"',
        tags=("a",),
        idempotency_key="k" * 64,
        request_key="once",
    )
    [made] = await engine.trigger(place.environment, [big])
    run = await worker.claim(made.run_id)
    await run.step("step:a#0")
    await run.call("trigger:job#0", "trigger", Trigger(task="job"), is_batch=True)
    run.complete()
    assert await engine.ends.wait(place.environment.id, made.run_id, 5)
    child = await worker.claim()
    bulk = await engine.bulk.create(
        place.environment.id, "cancel", filters=RunFilters(tasks=("job",))
    )
    await engine.bulk.run_once()
    await engine.retention.keep(place.environment.id, runs=30)
    await age(place, 31)

    gone = await prune(engine, place)

    assert gone == 1
    tables = [row["table_name"] for row in await place.sql(BELONGING)]
    assert len(tables) > 10
    owned = {}
    for table in tables:
        if table in {"request", "idempotency", "bulk_run"}:  # they go by their own age
            continue
        [row] = await place.sql(
            f"select count(*) from outlast.{table} where run_id = $1", made.run_id
        )
        owned[table] = row[0]
    assert set(owned.values()) == {0}, owned
    [blobs] = await place.sql("select count(*) from outlast.blob")
    assert blobs[0] == 0
    assert (await engine.runs.retrieve(place.environment.id, child.run)).id == child.run
    with pytest.raises(NotFound):
        await engine.bulk.retrieve(place.environment.id, bulk)


async def test_what_is_young_or_has_not_ended_stays(engine: Engine, place: Platform) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    made = await engine.trigger(place.environment, [Trigger(task="job") for _ in range(3)])
    ended = await worker.claim()
    ended.complete()
    assert await engine.ends.wait(place.environment.id, ended.run, 5)
    await engine.retention.keep(place.environment.id, runs=30)

    await age(place, 29)
    young = await prune(engine, place)
    await age(place, 2)
    await engine.retention.keep(place.environment.id, runs=None)
    kept_for_ever = await prune(engine, place)
    await engine.retention.keep(place.environment.id, runs=30)
    old = await prune(engine, place)

    assert (young, kept_for_ever, old) == (0, 0, 1)
    left = {run.id for run in (await engine.runs.page(place.environment.id)).runs}
    assert left == {one.run_id for one in made} - {ended.run}


async def test_a_batch_goes_after_its_runs(engine: Engine, place: Platform) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    batch, _ = await engine.batches.create(place.environment.id, 2)
    await engine.batches.add(
        place.environment, batch.id, [(0, Trigger(task="job")), (1, Trigger(task="nobody"))]
    )
    run = await worker.claim()
    await engine.retention.keep(place.environment.id, runs=1)

    await prune(engine, place)
    before = await engine.batches.items(place.environment.id, batch.id)
    run.complete()
    assert await engine.ends.wait(place.environment.id, run.run, 5)
    await age(place, 2)
    await prune(engine, place)

    assert [item.index for item in before] == [0, 1]
    with pytest.raises(NotFound):
        await engine.batches.retrieve(place.environment.id, batch.id)
    [items] = await place.sql("select count(*) from outlast.batch_item")
    assert items[0] == 0


async def test_days_have_limits(engine: Engine, place: Platform) -> None:
    with pytest.raises(InvalidRequest, match=r"runs are kept for 1 to 3,650 days"):
        await engine.retention.keep(place.environment.id, runs=0)
    with pytest.raises(NotFound):
        await engine.retention.keep("env_unknown", runs=3)


async def test_new_environments_keep_runs_for_a_month_and_in_dev_all_for_a_week(
    engine: Engine,
) -> None:
    kept = {
        place.slug: await engine.retention.kept(place.id)
        for place in await engine.tenancy.environments()
    }

    assert kept == {"dev": IN_DEV, "stg": ELSEWHERE, "prod": ELSEWHERE}
    with pytest.raises(NotFound):
        await engine.retention.kept("env_unknown")


async def test_what_is_not_given_is_kept_as_long_as_before(engine: Engine, place: Platform) -> None:
    await engine.retention.keep(place.environment.id, streams=2, logs=None)

    kept = await engine.retention.kept(place.environment.id)
    assert (kept.runs, kept.logs, kept.streams) == (7, None, 2)


async def test_logs_and_streams_of_ended_runs_go_before_their_runs(
    engine: Engine, place: Platform, worker: FakeWorker
) -> None:
    await engine.retention.keep(place.environment.id, runs=30, logs=7, streams=28)
    [old, live] = await engine.trigger(place.environment, [Trigger(task="job")] * 2)
    for made in (old, live):
        run = await worker.claim(made.run_id)
        await append(run)
        await write(place, run.run)
        if made is old:
            await end(run)
    await engine.streams.send(place.environment.id, live.run_id, "in", "1", message="m")

    async def parts() -> tuple[set[str], ...]:
        await prune(engine, place)
        return (
            await left(place, "log"),
            await left(place, "stream_chunk"),
            await left(place, "run_state"),
        )

    both = {old.run_id, live.run_id}
    assert await parts() == (both, both, both)
    await age(place, 8)
    assert await parts() == ({live.run_id}, both, both)
    await age(place, 21)
    assert await parts() == ({live.run_id}, {live.run_id}, both)
    assert await left(place, "stream") == {live.run_id}
    assert await left(place, "input_message") == {live.run_id}


async def test_logs_of_a_run_that_was_passed_too_early_go_later(
    engine: Engine, place: Platform, worker: FakeWorker
) -> None:
    """A walk looks at each run once, but forgets none that had not ended then."""
    await engine.retention.keep(place.environment.id, runs=None, logs=7)
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    run = await worker.claim(made.run_id)
    await write(place, run.run)
    await prune(engine, place)
    [later] = await place.sql("select run_id from outlast.prune_later where kind = 'logs'")
    assert later["run_id"] == run.run

    await end(run)
    await prune(engine, place)
    assert await left(place, "log") == {run.run}
    await age(place, 8)
    await prune(engine, place)

    assert await left(place, "log") == set()
    assert await place.sql("select from outlast.prune_later where kind = 'logs'") == []
    assert await left(place, "run_end") == {run.run}


async def test_more_rows_than_one_portion_may_take_go_portion_by_portion(
    engine: Engine, place: Platform, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlast.engine.retention._MOST_ROWS", 10)
    monkeypatch.setattr("outlast.engine.retention._PORTION", 2)
    runs = [await ended(worker) for _ in range(5)]
    for run in runs:
        await write(place, run, lines=12)
    await engine.retention.keep(place.environment.id, runs=30, logs=None)
    await age(place, 31)

    assert await prune(engine, place) == 5
    assert await left(place, "log") == await left(place, "run_end") == set()


async def test_a_child_stays_while_its_parent_has_not_ended(
    engine: Engine, place: Platform, worker: FakeWorker
) -> None:
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    parent = await worker.claim(made.run_id)
    await parent.call("trigger:job#0", "trigger", Trigger(task="job"))
    child = await end(await worker.claim())
    await engine.retention.keep(place.environment.id, runs=1)
    await age(place, 2)

    assert await prune(engine, place) == 0
    with pytest.raises(Conflict, match="has not ended triggered it"):
        await engine.retention.delete(place.environment.id, child)
    await end(parent)
    assert await prune(engine, place) == 1

    assert await left(place, "run_end") == {parent.run}


async def test_a_batch_that_is_waited_for_keeps_the_results_of_all_its_runs(
    engine: Engine, place: Platform, worker: FakeWorker
) -> None:
    """Also of a run that another one made, long ago, under the same idempotency key."""
    shared = await ended(worker, idempotency_key="k" * 64)
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    parent = await worker.claim(made.run_id)
    await parent.call(
        "batch:job#0",
        "batch",
        Trigger(task="job", idempotency_key="k" * 64),
        Trigger(task="job"),
    )
    assert await parent.suspend("batch:job#0")
    await engine.retention.keep(place.environment.id, runs=1)
    await age(place, 2)

    assert await prune(engine, place) == 0
    with pytest.raises(Conflict, match="waits for its batch"):
        await engine.retention.delete(place.environment.id, shared)
    await end(await worker.claim())
    outcomes = next(
        entry.outcome
        for entry in (await worker.claim(parent.run)).claim.entries
        if entry.key == "batch:job#0"
    )

    assert outcomes is not None
    assert outcomes.members is not None
    assert [member.ok for member in outcomes.members] == [True, True]


async def test_a_token_stays_while_the_run_that_made_it_may_wait_for_it(
    engine: Engine, place: Platform, worker: FakeWorker
) -> None:
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    run = await worker.claim(made.run_id)
    await run.call("waitpoint#0", "waitpoint", new=NewToken())
    own = (await place.sql("select id from outlast.waitpoint"))[0]["id"]
    open_, _ = await engine.waitpoints.create(place.environment.id, NewToken())
    done, _ = await engine.waitpoints.create(place.environment.id, NewToken())
    for token in (own, done.id):
        await engine.waitpoints.complete(place.environment.id, token, "1")
    await engine.retention.keep(place.environment.id, runs=30)

    async def tokens(days: int) -> set[str]:
        await place.sql(
            "update outlast.waitpoint set completed_at = completed_at - make_interval(days => $1)",
            days,
        )
        await prune(engine, place)
        return {row["id"] for row in await place.sql("select id from outlast.waitpoint")}

    assert await tokens(29) == {own, open_.id, done.id}
    assert await tokens(2) == {own, open_.id}
    await end(run)
    assert await tokens(0) == {open_.id}


async def test_one_server_deletes_at_a_time_and_another_passes_by(
    engine: Engine, place: Platform, worker: FakeWorker
) -> None:
    await ended(worker)
    await engine.retention.keep(place.environment.id, runs=30)
    await age(place, 31)
    other = await asyncpg.connect(place.url)
    try:
        await other.execute(
            "insert into outlast.prune_walk values ($1, 'runs') on conflict do nothing",
            place.environment.id,
        )
        async with other.transaction():
            await other.execute("select from outlast.prune_walk for update")
            passed_by = await prune(engine, place)
    finally:
        await other.close()

    assert passed_by == 0
    assert await prune(engine, place) == 1


async def test_a_run_that_a_trigger_is_about_to_answer_with_stays(
    engine: Engine, place: Platform, worker: FakeWorker
) -> None:
    """Else a parent could wait for ever for the end of a run that is not there."""
    run = await ended(worker)
    await engine.retention.keep(place.environment.id, runs=30)
    await age(place, 31)
    other = await asyncpg.connect(place.url)
    try:
        async with other.transaction():
            await other.execute("select from outlast.run_end for key share")
            assert await prune(engine, place) == 0
    finally:
        await other.close()

    assert await left(place, "run_end") == {run}


async def test_a_run_that_is_being_deleted_does_not_answer_a_trigger(
    engine: Engine, place: Platform, worker: FakeWorker
) -> None:
    """The trigger does not wait for the deletion either."""
    first = await ended(worker, idempotency_key="k" * 64)
    other = await asyncpg.connect(place.url)
    try:
        async with other.transaction():
            await other.execute("select from outlast.run_end for update")
            [made] = await engine.trigger(
                place.environment, [Trigger(task="job", idempotency_key="k" * 64)]
            )
    finally:
        await other.close()

    assert not made.is_cached
    assert made.run_id != first


async def test_a_run_is_deleted_when_somebody_asks_for_it(
    engine: Engine, place: Platform, worker: FakeWorker
) -> None:
    """However young it is. Its idempotency key is free again."""
    run = await ended(worker, idempotency_key="k" * 64, request_key="once")
    other = await ended(worker)
    await write(place, run, lines=5_000)

    await engine.retention.delete(place.environment.id, run)

    with pytest.raises(NotFound):
        await engine.runs.retrieve(place.environment.id, run)
    with pytest.raises(NotFound, match="there is no run"):
        await engine.retention.delete(place.environment.id, run)
    assert await left(place, "run_end") == {other}
    assert await left(place, "log") == set()
    again = [Trigger(task="job", idempotency_key="k" * 64)]
    [made] = await engine.trigger(place.environment, again)
    assert not made.is_cached


async def test_a_run_that_has_not_ended_is_not_deleted(
    engine: Engine, place: Platform, worker: FakeWorker
) -> None:
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    [elsewhere] = [one for one in await engine.tenancy.environments() if one.slug == "prod"]

    with pytest.raises(Conflict, match="cancel it first"):
        await engine.retention.delete(place.environment.id, made.run_id)
    with pytest.raises(NotFound):
        await engine.retention.delete(elsewhere.id, made.run_id)

    assert await left(place, "run_state") == {made.run_id}
