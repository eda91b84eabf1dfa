"""Bulk actions: what they take, what they count, and that nobody acts twice on a run."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest

from engines import Platform, platform
from fake_worker import FakeWorker, manifest
from outlast.engine.agents import Agents, Work
from outlast.engine.bulk import BULK, BulkAction
from outlast.engine.engine import Engine
from outlast.engine.errors import Conflict, InvalidRequest, NotFound
from outlast.engine.filters import Page, RunFilters
from outlast.protocol.statuses import Status
from outlast.protocol.triggers import Trigger


@pytest.fixture
async def place(fresh_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Platform]:
    """Give servers none of which works on an action by itself: the tests say when."""
    repeat = Agents.repeat

    def repeat_others(agents: Agents, name: str, step: Callable[[], Work], seconds: float) -> None:
        if name != "bulk":
            repeat(agents, name, step, seconds)

    monkeypatch.setattr(Agents, "repeat", repeat_others)
    async with platform(fresh_url) as made:
        yield made


@pytest.fixture
async def engine(place: Platform) -> AsyncIterator[Engine]:
    engine = await place.server()
    await FakeWorker.open(engine, place.environment, manifest("job", "other"), shared=0)
    yield engine
    assert await engine._audit.environment(place.environment.id) == []


async def queued(
    engine: Engine, place: Platform, count: int, task: str = "job", **options: object
) -> list[str]:
    triggers = [Trigger(task=task, payload=str(n), **options) for n in range(count)]  # type: ignore[arg-type]
    return [one.run_id for one in await engine.trigger(place.environment, triggers)]


async def finished(engine: Engine, place: Platform, bulk: str) -> BulkAction:
    """Work on everything, and return what came of one action."""
    await engine.bulk.run_once()
    found = await engine.bulk.retrieve(place.environment.id, bulk)
    assert found.status == "completed"
    assert found.completed_at is not None
    return found


def counts(action: BulkAction) -> tuple[int, int, int]:
    return action.total, action.success, action.failure


async def statuses(engine: Engine, place: Platform, runs: list[str]) -> set[Status]:
    return {run.status for run in await engine.runs.read(place.environment.id, runs)}


async def test_a_cancel_by_filter_ends_what_the_filter_finds_and_nothing_else(
    engine: Engine, place: Platform
) -> None:
    wanted = await queued(engine, place, 230)
    others = await queued(engine, place, 3, task="other")

    bulk = await engine.bulk.create(
        place.environment.id, "cancel", filters=RunFilters(tasks=("job",)), name="clean up"
    )
    begun = await engine.bulk.retrieve(place.environment.id, bulk)
    late = await queued(engine, place, 1)
    done = await finished(engine, place, bulk)

    assert (begun.status, begun.total, begun.name) == ("pending", 230, "clean up")
    assert counts(done) == (230, 230, 0)
    assert await statuses(engine, place, wanted) == {Status.CANCELED}
    assert await statuses(engine, place, [*others, *late]) == {Status.QUEUED}


async def test_a_replay_makes_each_run_again_with_what_it_was_given(
    engine: Engine, place: Platform
) -> None:
    runs = await queued(engine, place, 60, tags=("a",), concurrency_key="k", metadata='{"m":1}')

    bulk = await engine.bulk.create(
        place.environment.id, "replay", filters=RunFilters(tasks=("job",))
    )
    done = await finished(engine, place, bulk)

    assert counts(done) == (60, 60, 0)
    page = await engine.runs.page(place.environment.id, RunFilters(bulk=bulk), Page(size=100))
    assert sorted(run.replayed_from or "" for run in page.runs) == sorted(runs)
    one = page.runs[0]
    assert (one.tags, one.concurrency_key, one.metadata) == (("a",), "k", '{"m":1}')
    [first] = await engine.runs.contents(place.environment.id, [one.id])
    [origin] = await engine.runs.contents(place.environment.id, [one.replayed_from or ""])
    assert first.payload == origin.payload


async def test_named_runs_that_have_ended_or_do_not_exist_count_as_failures(
    engine: Engine, place: Platform
) -> None:
    [done, open_run] = await queued(engine, place, 2)
    await engine.cancel(place.environment, done)

    bulk = await engine.bulk.create(
        place.environment.id, "cancel", run_ids=[done, open_run, "run_unknown", open_run]
    )

    assert counts(await finished(engine, place, bulk)) == (3, 1, 2)
    rows = await place.sql("select run_id, error from outlast.bulk_run where error is not null")
    assert {row["run_id"]: row["error"] for row in rows} == {
        done: "the run has ended already",
        "run_unknown": "there is no such run",
    }


@pytest.mark.parametrize("kind", ["cancel", "replay"])
async def test_a_server_that_dies_before_it_wrote_down_what_it_did_costs_nothing(
    engine: Engine, place: Platform, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one begins with the rows that have no outcome, and nothing happens twice."""
    await queued(engine, place, 30)
    bulk = await engine.bulk.create(
        place.environment.id,
        kind,  # type: ignore[arg-type] # the two kinds
        filters=RunFilters(tasks=("job",)),
    )

    async def die(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as killed:
        killed.setattr(engine.bulk, "_record", die)
        with pytest.raises(RuntimeError):
            await engine.bulk.run_once()
    [row] = await place.sql("select count(*) from outlast.bulk_run where outcome is null")
    assert row[0] == 30
    other = await place.server()
    await other.bulk.run_once()
    await engine.bulk.run_once()

    assert counts(await finished(engine, place, bulk)) == (30, 30, 0)
    rows = await place.sql(
        "select replayed_from, count(*) from outlast.run where replayed_from is not null group by 1"
    )
    assert [row["count"] for row in rows] == ([1] * 30 if kind == "replay" else [])


async def test_a_lease_keeps_other_servers_away_until_it_is_over(
    engine: Engine, place: Platform
) -> None:
    await queued(engine, place, 1)
    bulk = await engine.bulk.create(
        place.environment.id, "cancel", filters=RunFilters(tasks=("job",))
    )
    lease = {"holder": "gone", "seconds": 3600.0, "most": 3}
    await engine.database.execute(BULK.lease, **lease)

    await engine.bulk.run_once()
    assert (await engine.bulk.retrieve(place.environment.id, bulk)).status == "pending"
    await place.sql("update outlast.bulk_action set lease_until = now() - interval '1 s'")

    assert counts(await finished(engine, place, bulk)) == (1, 1, 0)


async def test_an_aborted_action_stops_and_cannot_be_aborted_again(
    engine: Engine, place: Platform
) -> None:
    runs = await queued(engine, place, 5)
    bulk = await engine.bulk.create(
        place.environment.id, "cancel", filters=RunFilters(tasks=("job",))
    )

    await engine.bulk.abort(place.environment.id, bulk)
    await engine.bulk.run_once()

    assert (await engine.bulk.retrieve(place.environment.id, bulk)).status == "aborted"
    assert await statuses(engine, place, runs) == {Status.QUEUED}
    with pytest.raises(Conflict, match="aborted; only a pending one"):
        await engine.bulk.abort(place.environment.id, bulk)
    with pytest.raises(NotFound):
        await engine.bulk.abort(place.environment.id, "bulk_unknown")


async def test_three_replays_of_an_environment_work_at_a_time_and_the_fourth_waits(
    engine: Engine, place: Platform
) -> None:
    await queued(engine, place, 1)
    made = [
        await engine.bulk.create(place.environment.id, "replay", filters=RunFilters(tasks=("job",)))
        for _ in range(4)
    ]
    held = []
    for holder in range(4):
        rows = await place.sql(
            "select count(*) from outlast.bulk_action where lease_until is not null"
        )
        held.append(rows[0][0])
        await engine.database.execute(BULK.lease, holder=str(holder), seconds=60.0, most=3)

    [row] = await place.sql("select id from outlast.bulk_action where lease_until is null")
    assert held == [0, 1, 2, 3]
    assert row["id"] == max(made)
    await place.sql("update outlast.bulk_action set lease_until = null")
    for bulk in made:
        await finished(engine, place, bulk)


async def test_a_filter_without_a_beginning_reaches_back_seven_days(
    engine: Engine, place: Platform
) -> None:
    [old, new] = await queued(engine, place, 2)
    await place.sql(
        "update outlast.run set created_at = now() - interval '8 days' where id = $1", old
    )

    bulk = await engine.bulk.create(
        place.environment.id, "cancel", filters=RunFilters(tasks=("job",))
    )
    await finished(engine, place, bulk)

    assert await statuses(engine, place, [old]) == {Status.QUEUED}
    assert await statuses(engine, place, [new]) == {Status.CANCELED}
    everything = RunFilters(created_from=datetime(2020, 1, 1, tzinfo=UTC))
    again = await engine.bulk.create(place.environment.id, "cancel", filters=everything)
    assert counts(await finished(engine, place, again)) == (2, 1, 1)


@pytest.mark.parametrize(
    ("filters", "runs", "message"),
    [
        (None, [], "either a filter or run ids"),
        (RunFilters(is_test=True), ["run_a"], "either a filter or run ids"),
        (RunFilters(), [], "at least one field"),
        (None, [f"run_{n}" for n in range(501)], "at most 500 run ids, not 501"),
        (None, ["\0"], "no run's id"),
        (RunFilters(tasks=("\0",)), [], "taskIdentifier"),
    ],
)
async def test_what_names_no_runs_is_refused(
    engine: Engine, place: Platform, filters: RunFilters | None, runs: list[str], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        await engine.bulk.create(place.environment.id, "cancel", filters=filters, run_ids=runs)


async def test_pages_of_actions_go_forward_and_back(engine: Engine, place: Platform) -> None:
    made = [
        await engine.bulk.create(place.environment.id, "cancel", run_ids=[f"run_{n}"])
        for n in range(5)
    ]
    newest_first = sorted(made, reverse=True)

    first = await engine.bulk.page(place.environment.id, Page(size=2))
    second = await engine.bulk.page(place.environment.id, Page(size=2, after=first.next))
    back = await engine.bulk.page(place.environment.id, Page(size=2, before=second.previous))

    assert [one.id for one in (*first.actions, *second.actions)] == newest_first[:4]
    assert back.actions == first.actions
    assert first.previous is None
    assert (await engine.bulk.page("env_other", Page())).actions == ()


async def test_a_delayed_run_starts_at_its_new_moment(engine: Engine, place: Platform) -> None:
    """Its ttl counts from there; a moment in the past means now."""
    [soon, late] = await queued(engine, place, 2, delay=3600.0, ttl=600.0)
    epoch = datetime(2100, 1, 1, tzinfo=UTC).timestamp()

    await engine.reschedule(place.environment, late, delay_until=epoch)
    await engine.reschedule(place.environment, soon, delay_until=1.0)

    rows = await place.sql("select kind, due_at from outlast.timer where ref = $1 order by 2", late)
    assert [(row["kind"], row["due_at"].timestamp()) for row in rows] == [
        ("delay", epoch),
        ("ttl", epoch + 600),
    ]
    assert (await engine.runs.retrieve(place.environment.id, soon)).status is Status.QUEUED
    with pytest.raises(Conflict, match="is queued; only a delayed one"):
        await engine.reschedule(place.environment, soon, delay=5)
    with pytest.raises(NotFound):
        await engine.reschedule(place.environment, "run_unknown", delay=5)
