"""Every list reads along an index, however many runs there are."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outlast.engine.database import Database, DatabaseSettings
from outlast.engine.filters import Page, RunFilters, compose
from outlast.engine.keys import KeyRing, Keys
from outlast.engine.runs import RUNS, Runs
from outlast.engine.tenancy import Tenancy
from outlast.protocol.statuses import Status
from postgres import administrate, in_own_loop, url_of

COUNT = 30_000
FILL = (Path(__file__).parents[2] / "benchmarks" / "runs.sql").read_text()

PLANS: list[tuple[str, RunFilters]] = [
    ("run_pkey", RunFilters()),
    ("run_pkey", RunFilters(root_only=True)),
    ("run_pkey", RunFilters(is_test=False)),
    ("run_state_open_idx", RunFilters(statuses=(Status.WAITING,))),
    ("run_state_ended_idx", RunFilters(statuses=(Status.CRASHED, Status.TIMED_OUT))),
    ("run_task_idx", RunFilters(tasks=("rare",))),
    ("run_task_idx", RunFilters(tasks=("rare", "task-1"))),
    ("run_state_version_idx", RunFilters(versions=("20260100.1",))),
    ("tag_run_idx", RunFilters(tags=("old",))),
    ("tag_run_idx", RunFilters(tags=("late", "org_42"))),
    ("run_queue_idx", RunFilters(queues=("slow",))),
    ("run_task_idx", RunFilters(queues=("task/rare",))),
    ("run_machine_idx", RunFilters(machines=("micro",))),
    ("run_batch_idx", RunFilters(batch="batch_1")),
    ("run_schedule_idx", RunFilters(schedule="sched_3")),
    ("run_parent_idx", RunFilters(parent="run_parent_100")),
    ("run_test_idx", RunFilters(is_test=True)),
    ("bulk_run_result_idx", RunFilters(bulk="bulk_1")),
    ("error_run_group_idx", RunFilters(error="fingerprint")),
    ("run_replayed_idx", RunFilters(replay_of="run_1")),
    ("run_pkey", RunFilters(created_to=datetime.now(UTC) - timedelta(days=15))),
]
OWN_QUEUE = ("task/task-7",)
"""Its index holds what was sent to other queues too: each run is looked at."""
LISTS = [
    RunFilters(statuses=(Status.COMPLETED,)),
    RunFilters(statuses=(Status.FAILED, Status.CANCELED)),
    RunFilters(statuses=(Status.QUEUED,)),
    RunFilters(statuses=(Status.QUEUED, Status.FAILED)),
    RunFilters(tasks=("task-7",)),
    RunFilters(tasks=("task-1", "rare")),
    RunFilters(versions=("20260101.1",)),
    RunFilters(versions=("20260102.1",)),
    RunFilters(tags=("old",)),
    RunFilters(tags=("org_42", "late")),
    RunFilters(queues=("slow",)),
    RunFilters(queues=OWN_QUEUE),
    RunFilters(machines=("micro",)),
    RunFilters(schedule="sched_3"),
    RunFilters(bulk="bulk_1"),
    RunFilters(is_test=True),
    RunFilters(root_only=True),
    RunFilters(created_to=datetime.now(UTC) - timedelta(days=15)),
]
EVERYTHING = """
select r.id, r.task, r.queue, r.machine, r.schedule_id, r.parent_id, r.is_test, r.created_at,
  s.status, v.name as version,
  r.tags || array(select tag from outlast.tag t where t.run_id = r.id) as tags,
  exists (select from outlast.bulk_run b where b.result_id = r.id) as is_bulk
from outlast.run r
join outlast.run_state s on s.run_id = r.id
join outlast.version v on v.id = s.version_id
order by r.id desc"""
MOST_READ = 6_000
"""Pages that a list of two filters may touch among these runs; looking each one up took 20,000."""


@pytest.fixture(scope="module")
def filled(database_url: str, database_template: str) -> Iterator[tuple[str, str]]:
    """Give a database with runs of every kind and statistics about them, and its environment."""

    async def fill(url: str) -> str:
        async with await Database.open(DatabaseSettings(url=url, pool_size=1)) as database:
            tenancy = Tenancy(database, Keys(database, KeyRing((KeyRing.generate(),))))
            environment = (await tenancy.create_project("list")).environments[0].id
        text = FILL.replace(":environment", environment).replace(":count", str(COUNT))
        await administrate(url, text)
        await administrate(url, "vacuum analyze")
        return environment

    name = f"{database_template}_listing"
    url = url_of(database_url, name)
    in_own_loop(administrate(database_url, f"create database {name} template {database_template}"))
    try:
        yield url, in_own_loop(fill(url))
    finally:
        in_own_loop(administrate(database_url, f"drop database {name} with (force)"))


@pytest.fixture
async def runs(filled: tuple[str, str]) -> AsyncIterator[Runs]:
    async with await Database.open(DatabaseSettings(url=filled[0], pool_size=2)) as database:
        yield Runs(database)


@pytest.mark.parametrize(("index", "filters"), PLANS)
async def test_a_filter_reads_along_its_index(
    runs: Runs, filled: tuple[str, str], index: str, filters: RunFilters
) -> None:
    """And no table is read from one end to the other."""
    plan = await _plan(runs, filled[1], filters)

    nodes = list(_nodes(plan))
    scanned = {node.get("Relation Name") for node in nodes if node["Node Type"] == "Seq Scan"}
    assert scanned <= {"version"}
    assert index in {node.get("Index Name") for node in nodes}


@pytest.mark.parametrize(
    ("indexes", "filters"),
    [
        (
            {"run_state_ended_idx", "run_state_version_idx"},
            RunFilters(statuses=(Status.FAILED,), versions=("20260100.1",)),
        ),
        ({"run_task_idx", "run_queue_idx"}, RunFilters(tasks=("task-7",), queues=("slow",))),
        (
            {"run_task_idx", "run_state_ended_idx"},
            RunFilters(queues=OWN_QUEUE, statuses=(Status.FAILED,)),
        ),
    ],
)
async def test_of_two_filters_on_one_row_each_reads_its_own_index(
    runs: Runs, filled: tuple[str, str], indexes: set[str], filters: RunFilters
) -> None:
    """And none looks into the table for what the other's index has."""
    nodes = list(_nodes(await _plan(runs, filled[1], filters)))

    read = {node["Index Name"] for node in nodes if node["Node Type"] == "Index Only Scan"}
    assert indexes <= read


async def _plan(
    runs: Runs, environment: str, filters: RunFilters, options: str = ""
) -> dict[str, Any]:
    choice = compose(RUNS.choose_runs, environment, filters, Page())
    async with runs._database.transaction() as executor:
        await executor.execute(RUNS.plan_lists, merges=choice.merges)
        text = await executor.connection.fetchval(
            f"explain ({options} format json) {choice.statement.sql}", *choice.values
        )
    plan: dict[str, Any] = json.loads(text)[0]["Plan"]
    return plan


def _nodes(plan: dict[str, object]) -> Iterator[dict[str, object]]:
    yield plan
    for child in plan.get("Plans", []):  # type: ignore[attr-defined] # JSON
        yield from _nodes(child)


async def test_two_filters_at_once_find_what_both_of_them_find(
    runs: Runs, filled: tuple[str, str]
) -> None:
    async with runs._database.acquire() as executor:
        everything = [dict(row) for row in await executor.connection.fetch(EVERYTHING)]
    found = {id(each): {row["id"] for row in everything if _is_found(row, each)} for each in LISTS}

    for one, other in combinations(LISTS, 2):
        both = _both(one, other)
        if both is None:
            continue
        expected = sorted(found[id(one)] & found[id(other)], reverse=True)
        first = await runs.choose(filled[1], both, Page(size=20))
        assert first == expected[:21], both
        if len(first) > 20:
            second = await runs.choose(filled[1], both, Page(size=20, after=first[19]))
            assert second == expected[20:41], both
            back = await runs.choose(filled[1], both, Page(size=20, before=second[0]))
            assert sorted(back, reverse=True) == expected[:20], both


async def test_two_filters_at_once_read_little_more_than_their_lists(
    runs: Runs, filled: tuple[str, str]
) -> None:
    """However far apart the runs stand that both find."""
    for one, other in combinations(LISTS, 2):
        both = _both(one, other)
        if both is not None and both.queues != OWN_QUEUE:
            plan = await _plan(runs, filled[1], both, "analyze, buffers,")
            assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < MOST_READ, both


def _both(one: RunFilters, other: RunFilters) -> RunFilters | None:
    """Return the filters of both, None where both are of one field."""
    fields, more = _fields(one), _fields(other)
    return None if fields.keys() & more.keys() else RunFilters(**fields, **more)


def _fields(filters: RunFilters) -> dict[str, Any]:
    plain = msgspec.structs.asdict(RunFilters())
    return {k: v for k, v in msgspec.structs.asdict(filters).items() if v != plain[k]}


def _is_found(row: dict[str, Any], filters: RunFilters) -> bool:
    return (
        (not filters.statuses or Status(row["status"]) in filters.statuses)
        and (not filters.tasks or row["task"] in filters.tasks)
        and (not filters.versions or row["version"] in filters.versions)
        and (not filters.tags or any(tag in row["tags"] for tag in filters.tags))
        and (not filters.queues or row["queue"] in filters.queues)
        and (not filters.machines or row["machine"] in filters.machines)
        and filters.schedule in (None, row["schedule_id"])
        and (filters.bulk is None or row["is_bulk"])
        and filters.is_test in (None, row["is_test"])
        and not (filters.root_only and row["parent_id"] is not None)
        and (filters.created_to is None or row["created_at"] <= filters.created_to)
    )


async def test_a_tag_of_many_old_runs_gives_whole_pages(
    runs: Runs, filled: tuple[str, str]
) -> None:
    """Also when another filter leaves few of them."""
    filters = RunFilters(tags=("old", "late"), statuses=(Status.QUEUED, Status.FAILED))

    first = await runs.page(filled[1], filters, Page(size=10))
    second = await runs.page(filled[1], filters, Page(size=10, after=first.next))
    back = await runs.page(filled[1], filters, Page(size=10, before=second.previous))

    ids = [run.id for run in (*first.runs, *second.runs)]
    assert len(set(ids)) == 20
    assert ids == sorted(ids, reverse=True)
    assert back.runs == first.runs


async def test_pages_of_a_union_of_branches_hold_every_run_once(
    runs: Runs, filled: tuple[str, str]
) -> None:
    filters = RunFilters(
        statuses=(Status.FAILED, Status.CANCELED, Status.CRASHED),
        tasks=("task-0", "task-1", "rare"),
    )
    seen: list[str] = []
    after: str | None = None
    while True:
        page = await runs.page(filled[1], filters, Page(size=100, after=after))
        seen += [run.id for run in page.runs]
        after = page.next
        if after is None:
            break

    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) == await runs.count(filled[1], filters) > 300
