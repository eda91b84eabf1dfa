"""Every list reads along an index, however many runs there are."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

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
]


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
    choice = compose(RUNS.choose_runs, filled[1], filters, Page())
    async with runs._database.acquire() as executor:
        text = await executor.connection.fetchval(
            f"explain (format json) {choice.statement.sql}", *choice.values
        )

    nodes = list(_nodes(json.loads(text)[0]["Plan"]))
    scanned = {node.get("Relation Name") for node in nodes if node["Node Type"] == "Seq Scan"}
    assert scanned <= {"version"}
    assert index in {node.get("Index Name") for node in nodes}


def _nodes(plan: dict[str, object]) -> Iterator[dict[str, object]]:
    yield plan
    for child in plan.get("Plans", []):  # type: ignore[attr-defined] # JSON
        yield from _nodes(child)


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
