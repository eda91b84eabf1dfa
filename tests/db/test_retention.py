"""What is old goes with everything that is its own, and nothing else does."""

import pytest

from engines import Platform
from fake_worker import FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.engine.errors import InvalidRequest, NotFound
from outlast.engine.filters import RunFilters
from outlast.protocol.messages import NewToken
from outlast.protocol.triggers import Trigger

BELONGING = """
select c.table_name from information_schema.columns c
join information_schema.tables t using (table_schema, table_name)
where c.table_schema = 'outlast' and c.column_name = 'run_id' and t.table_type = 'BASE TABLE'
"""


async def age(place: Platform, days: int) -> None:
    """Make everything older: ids carry the time, so a later moment is played instead."""
    await place.sql(
        "update outlast.run_end set finished_at = finished_at - make_interval(days => $1)", days
    )


async def prune(engine: Engine, place: Platform) -> int:
    """Prune as if the ids were old: the floor of the ids is what tests cannot wait for."""
    return await engine.retention.run_once(before=4_102_444_800_000)


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
    await engine.retention.keep(place.environment.id, 30)
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
    await engine.retention.keep(place.environment.id, 30)

    await age(place, 29)
    young = await prune(engine, place)
    await age(place, 2)
    await engine.retention.keep(place.environment.id, None)
    kept_for_ever = await prune(engine, place)
    await engine.retention.keep(place.environment.id, 30)
    old = await prune(engine, place)

    assert (young, kept_for_ever, old) == (0, 0, 1)
    left = {run.id for run in (await engine.runs.page(place.environment.id)).runs}
    assert left == {one.run_id for one in made} - {ended.run}


async def test_request_and_idempotency_keys_go_by_their_own_age(
    engine: Engine, place: Platform
) -> None:
    await FakeWorker.open(engine, place.environment, manifest("job"), shared=0)
    wanted = [
        Trigger(task="job", request_key=key, idempotency_key=f"{n}" * 64)
        for n, key in enumerate(("r0", "r1", "r2", "outbox_r3", "outbox_r4"))
    ]
    await engine.trigger(place.environment, wanted)
    await place.sql(
        "update outlast.request set created_at = now() - interval '3 days' where key ~ 'r(1|3)$'"
    )
    await place.sql(
        "update outlast.request set created_at = now() - interval '31 days' where key like '%r4'"
    )
    await place.sql(
        "update outlast.idempotency set expires_at = now() - interval '1 s' where key like '2%'"
    )

    await prune(engine, place)

    requests = await place.sql("select right(key, 2) as key from outlast.request order by 1")
    keys = await place.sql("select left(key, 1) as key from outlast.idempotency order by 1")
    assert [row["key"] for row in requests] == ["r0", "r2", "r3"]
    assert [row["key"] for row in keys] == ["0", "1", "3", "4"]


async def test_a_batch_goes_after_its_runs(engine: Engine, place: Platform) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    batch, _ = await engine.batches.create(place.environment.id, 2)
    await engine.batches.add(
        place.environment, batch.id, [(0, Trigger(task="job")), (1, Trigger(task="nobody"))]
    )
    run = await worker.claim()
    await engine.retention.keep(place.environment.id, 1)

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
    with pytest.raises(InvalidRequest, match=r"1 to 3,650 days"):
        await engine.retention.keep(place.environment.id, 0)
    with pytest.raises(NotFound):
        await engine.retention.keep("env_unknown", 3)


async def test_waitpoints_that_are_done_and_keys_that_hold_no_more_go(
    engine: Engine, place: Platform
) -> None:
    done, _ = await engine.waitpoints.create(place.environment.id, NewToken())
    open_, _ = await engine.waitpoints.create(place.environment.id, NewToken())
    await engine.waitpoints.complete(place.environment.id, done.id, "1")
    for key, age in (("old", -1), ("young", 1)):
        await place.sql(
            "insert into outlast.wait_key values ($1, $2, now(), now() + $3 * interval '1 day')",
            place.environment.id,
            key,
            age,
        )
    await engine.retention.keep(place.environment.id, 30)

    await prune(engine, place)

    assert [row["id"] for row in await place.sql("select id from outlast.waitpoint")] == [open_.id]
    assert [row["key"] for row in await place.sql("select key from outlast.wait_key")] == ["young"]
