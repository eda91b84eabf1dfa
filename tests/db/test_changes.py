"""What watchers of runs hear, whoever changed them, and what it costs when nobody watches."""

import asyncio
import time
from typing import Any

import pytest

from engines import Platform
from fake_worker import FakeWorker, manifest
from outlast.engine import changes
from outlast.engine.changes import Changes, InBatch, Newest, Only, Tagged, Watch
from outlast.engine.engine import Engine
from outlast.engine.errors import Unavailable
from outlast.protocol.ids import id_floor
from outlast.protocol.messages import MetadataOperation
from outlast.protocol.triggers import Trigger
from polling import until

PATIENCE = 10.0


@pytest.fixture
async def engine(place: Platform) -> Engine:
    return await place.server()


async def trigger(place: Platform, engine: Engine, **options: Any) -> str:
    [made] = await engine.trigger(place.environment, [Trigger(task="hello", **options)])
    assert made.run_id, made.error
    return made.run_id


async def changed(watch: Watch) -> bool:
    """Wait for the next state of a watch."""
    assert watch.snapshot is not None
    before = watch.snapshot.digest
    return (await watch.wait(before, PATIENCE)).digest != before


async def test_every_kind_of_change_is_found(place: Platform, engine: Engine) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("hello"))
    run = await trigger(place, engine)
    claim = await worker.claim(run)
    environment = place.environment.id
    with engine.changes.watch(environment, Only((run,))) as watch:
        await watch.look()
        operation = MetadataOperation(
            target="self", scope="", ordinal=1, type="set", path=("a",), value="1"
        )
        await engine.reports.revise(environment, run, [operation])
        assert await changed(watch)
        await engine.reports.add_tags(environment, run, ["late"])
        assert await changed(watch)
        await place.sql("insert into outlast.stream (run_id, key) values ($1, 'text')", run)
        assert await changed(watch)
        claim.complete("1")
        assert await changed(watch)

        [row] = await engine.changes.rows(environment, [run])
        assert (row.status, row.metadata, row.tags, row.streams, row.output) == (
            "completed", '{"a": 1}', ("late",), ("text",), "1",
        )  # fmt: skip


async def test_a_change_by_another_server_is_found(place: Platform, engine: Engine) -> None:
    other = await place.server()
    worker = await FakeWorker.open(other, place.environment, manifest("hello"))
    run = await trigger(place, other)
    claim = await worker.claim(run)
    with engine.changes.watch(place.environment.id, Only((run,))) as watch:
        await watch.look()
        claim.complete()
        assert await changed(watch)

        async with asyncio.timeout(PATIENCE):
            while (await engine.changes.rows(place.environment.id, [run]))[0].finished_at is None:
                await changed(watch)


async def test_a_change_with_an_earlier_moment_than_the_last_is_found(
    place: Platform, engine: Engine
) -> None:
    """Transactions commit in another order than they read the clock in."""
    await FakeWorker.open(engine, place.environment, manifest("hello"))
    run = await trigger(place, engine, delay=3600.0)
    with engine.changes.watch(place.environment.id, Only((run,))) as watch:
        await watch.look()
        await place.sql(
            "update outlast.run_state set updated_at = updated_at - interval '1 minute'"
            " where run_id = $1", run,
        )  # fmt: skip

        assert await changed(watch)


async def test_lists_gain_runs(place: Platform, engine: Engine) -> None:
    await FakeWorker.open(engine, place.environment, manifest("hello"))
    environment = place.environment.id
    now = int(time.time() * 1000)
    with (
        engine.changes.watch(
            environment, Tagged(("a", "b"), id_floor("run", now - 60_000))
        ) as tagged,
        engine.changes.watch(environment, Tagged(("a",), id_floor("run", now + 60_000))) as later,
        engine.changes.watch(environment, Newest(2)) as newest,
        engine.changes.watch(environment, InBatch("batch_1")) as batch,
    ):
        for watch in (tagged, newest, batch):
            assert (await watch.look()).versions == {}

        both = await trigger(place, engine, tags=("b", "a"))
        one = await trigger(place, engine, tags=("a",))
        async with asyncio.timeout(PATIENCE):
            while set(newest.runs) != {both, one}:
                await changed(newest)
        await tagged.look()
        assert tagged.runs == (both,)
        await engine.reports.add_tags(environment, one, ["b"])
        await tagged.look()
        assert set(tagged.runs) == {both, one}
        assert (await later.look()).versions == {}
        assert (await batch.look()).versions == {}
        await place.sql("update outlast.run set batch_id = 'batch_1' where id = $1", one)
        assert set((await batch.look()).versions) == {one}


async def test_a_run_of_another_environment_is_not_seen(place: Platform, engine: Engine) -> None:
    await FakeWorker.open(engine, place.environment, manifest("hello"))
    run = await trigger(place, engine)
    with engine.changes.watch("env_other", Only((run,))) as watch:
        assert (await watch.look()).versions == {}


async def test_followers_hear_what_changed(place: Platform, engine: Engine) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("hello"))
    runs = [await trigger(place, engine) for _ in range(2)]
    claims = {run: await worker.claim(run) for run in runs}
    heard = engine.changes.follow(place.environment.id, Only(tuple(runs)))

    async with asyncio.timeout(PATIENCE):
        assert await anext(heard) == set(runs)
        claims[runs[0]].complete()
        later = await anext(heard)

    assert later <= set(runs)
    await heard.aclose()


async def test_nobody_watching_means_no_work(
    place: Platform, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is watched is looked at, and after the last watcher nothing is."""
    monkeypatch.setattr(changes, "_LINGER_SECONDS", 0.0)
    await FakeWorker.open(engine, place.environment, manifest("hello"))
    watched, unwatched = [await trigger(place, engine, delay=3600.0) for _ in range(2)]
    looked: list[tuple[str, str]] = []
    find = engine.changes._find_changed

    async def spy(keys: list[tuple[str, str]]) -> object:
        looked.extend(keys)
        return await find(keys)

    monkeypatch.setattr(engine.changes, "_find_changed", spy)
    with engine.changes.watch(place.environment.id, Only((watched,))) as watch:
        await watch.look()
    await until(lambda: engine.changes._task is None)

    assert {run for _, run in looked} == {watched}
    assert unwatched not in {run for _, run in looked}
    assert (engine.changes._watches, engine.changes._holders, engine.changes._versions) == (
        {}, {}, {},
    )  # fmt: skip


async def test_many_watchers_of_a_run_cost_one_look(place: Platform, engine: Engine) -> None:
    await FakeWorker.open(engine, place.environment, manifest("hello"))
    run = await trigger(place, engine, delay=3600.0)
    environment = place.environment.id
    with (
        engine.changes.watch(environment, Only((run,))) as one,
        engine.changes.watch(environment, Only((run,))) as two,
    ):
        assert one is two


async def test_a_database_that_is_away_fails_who_begins_and_not_who_waits(
    place: Platform, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_AFTER_FAILURE_SECONDS", 0.01)
    await FakeWorker.open(engine, place.environment, manifest("hello"))
    run = await trigger(place, engine, delay=3600.0)
    with engine.changes.watch(place.environment.id, Only((run,))) as watch:
        await watch.look()
        waiting = asyncio.create_task(changed(watch))

        async def away(_watches: object) -> None:
            raise Unavailable("PostgreSQL does not answer")

        with monkeypatch.context() as outage:
            outage.setattr(engine.changes, "_look", away)
            with pytest.raises(Unavailable):
                await watch.look()
        assert not waiting.done()
        await engine.cancel(place.environment, run)

        assert await waiting


async def test_a_stopping_server_sends_its_watchers_home(place: Platform, engine: Engine) -> None:
    with engine.changes.watch(place.environment.id, Only(("run_1",))) as watch:
        snapshot = await watch.look()
        waiting = asyncio.create_task(watch.wait(snapshot.digest, 60))
        await asyncio.sleep(0)
        engine.changes.release()

        assert await waiting == snapshot
        with pytest.raises(Unavailable):
            await watch.look()


def test_a_forgotten_state_is_known_to_be_forgotten() -> None:
    """Its caller gets every row again instead of missing one."""
    watch = Watch(Changes.__new__(Changes), "env_1", Only(("run_1",)))
    for version in range(1, 20):
        watch.show({"run_1": version})

    assert watch.versions(1) is None
    assert watch.versions(19) == {"run_1": 19}
    assert watch.versions(0) == {}
