"""How long a page of runs takes for every filter, behind a million runs."""

import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg

from benchmarks.stage import database
from outlast.engine.database import Database, DatabaseSettings
from outlast.engine.filters import Page, RunFilters
from outlast.engine.keys import KeyRing, Keys
from outlast.engine.migrations import migrate
from outlast.engine.runs import Runs
from outlast.engine.tenancy import Tenancy
from outlast.protocol.statuses import Status

COUNT = 1_000_000
LIMIT_MS = 50.0
_REPEATS = 7
_RUNS = (Path(__file__).parent / "runs.sql").read_text()
_NOW = datetime.now(UTC)
_IN_THE_MIDDLE = (_NOW - timedelta(days=15, hours=1), _NOW - timedelta(days=15))

FILTERS: dict[str, RunFilters] = {
    "none": RunFilters(),
    "status: most": RunFilters(statuses=(Status.COMPLETED,)),
    "status: some": RunFilters(statuses=(Status.FAILED, Status.CANCELED, Status.EXPIRED)),
    "status: few, old": RunFilters(statuses=(Status.CRASHED,)),
    "status: many, old": RunFilters(statuses=(Status.QUEUED,)),
    "status: none": RunFilters(statuses=(Status.WAITING, Status.DELAYED)),
    "task": RunFilters(tasks=("task-7",)),
    "task: few, old": RunFilters(tasks=("rare",)),
    "tasks": RunFilters(tasks=("task-1", "task-2", "rare")),
    "version: current": RunFilters(versions=("20260102.1",)),
    "version: older": RunFilters(versions=("20260101.1",)),
    "version: few, old": RunFilters(versions=("20260100.1",)),
    "tag": RunFilters(tags=("org_42",)),
    "tag: many, old": RunFilters(tags=("old",)),
    "tag: added late": RunFilters(tags=("late",)),
    "tag: none": RunFilters(tags=("nobody",)),
    "queue": RunFilters(queues=("slow",)),
    "queue of a task": RunFilters(queues=("task/task-7",)),
    "machine": RunFilters(machines=("micro",)),
    "batch": RunFilters(batch="batch_50"),
    "bulk action": RunFilters(bulk="bulk_1"),
    "schedule": RunFilters(schedule="sched_3"),
    "parent": RunFilters(parent="run_parent_1000"),
    "root only": RunFilters(root_only=True),
    "tests, old": RunFilters(is_test=True),
    "no tests": RunFilters(is_test=False),
    "an hour": RunFilters(created_from=_IN_THE_MIDDLE[0], created_to=_IN_THE_MIDDLE[1]),
    "before then": RunFilters(created_to=_IN_THE_MIDDLE[0]),
    "task & status, none": RunFilters(tasks=("task-7",), statuses=(Status.FAILED,)),
    "tag & status": RunFilters(tags=("org_42",), statuses=(Status.COMPLETED,)),
    "tag & old status": RunFilters(tags=("late",), statuses=(Status.QUEUED,)),
    "task & version": RunFilters(tasks=("task-7",), versions=("20260101.1",)),
    "old tag & version": RunFilters(tags=("old",), versions=("20260102.1",)),
    "tasks & old version": RunFilters(tasks=("task-1", "rare"), versions=("20260100.1",)),
    "queue & status, none": RunFilters(queues=("slow",), statuses=(Status.COMPLETED,)),
    "machine & task, none": RunFilters(machines=("micro",), tasks=("task-7",)),
    "own queue & status": RunFilters(queues=("task/task-7",), statuses=(Status.FAILED,)),
    "status & old version": RunFilters(statuses=(Status.FAILED,), versions=("20260100.1",)),
    "task & queue": RunFilters(tasks=("task-7",), queues=("slow",)),
    "bulk action & task": RunFilters(bulk="bulk_1", tasks=("task-7",)),
}


async def fill(url: str, environment: str, count: int) -> None:
    """Put runs into a migrated database, behind the platform's back."""
    connection = await asyncpg.connect(url)
    try:
        text = _RUNS.replace(":environment", environment).replace(":count", str(count))
        await connection.execute(text, timeout=900)
        await connection.execute("vacuum analyze", timeout=300)
    finally:
        await connection.close()


async def main(count: int = COUNT) -> None:
    """Print each filter's milliseconds, and a trivial query's beside it."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="outlast-bench-")))
        url = await stack.enter_async_context(database(folder))
        opened = await stack.enter_async_context(
            await Database.open(DatabaseSettings(url=url, pool_size=2))
        )
        await migrate(opened)
        tenancy = Tenancy(opened, Keys(opened, KeyRing((KeyRing.generate(),))))
        made = await tenancy.create_project("bench", ref="proj_bench")
        environment = made.environments[0].id
        await fill(url, environment, count)
        runs = Runs(opened)

        async def trivial() -> None:
            async with opened.acquire() as executor:
                await executor.connection.fetchval("select 1")

        print(f"{'':20} {'median ms':>9} {'max ms':>9} {'select 1':>9}  runs", flush=True)
        for name, filters in FILTERS.items():
            found = await runs.page(environment, filters)

            async def page(wanted: RunFilters = filters) -> None:
                await runs.page(environment, wanted, Page(size=25))

            times, floor = await _times(page), await _times(trivial)
            late = "" if statistics.median(times) < LIMIT_MS else f"  over {LIMIT_MS:.0f} ms"
            print(
                f"{name:20} {statistics.median(times):>9.1f} {max(times):>9.1f}"
                f" {statistics.median(floor):>9.1f}  {len(found.runs)}{late}",
                flush=True,
            )


async def _times(call: Callable[[], Awaitable[None]]) -> list[float]:
    found = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        await call()
        found.append((time.perf_counter() - began) * 1000)
    return found
