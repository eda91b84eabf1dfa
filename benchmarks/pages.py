"""How long the pages of the dashboard take, behind a million runs and for a run of many spans."""

import re
import statistics
import time

import asyncpg
import httpx

from benchmarks import listing
from benchmarks.stage import Stage, stage
from outlast import tasks
from outlast.engine.activity import Activity
from outlast.engine.database import Database, DatabaseSettings
from outlast.engine.failures import Failures
from outlast.engine.ids import Ids
from outlast.engine.users import Users
from outlast.protocol.roles import Role

LIMIT_MS, RUN_LIMIT_MS = 100.0, 300.0
SPANS = 5_000
_REPEATS = 7
_PORTION = 100_000
PAGES = (
    "tasks",
    "tasks/steps",
    "test/steps",
    "runs",
    "runs?status=failed",
    "runs?task=task-7&status=completed",
    "runs?tag=org_42",
    "queues",
    "schedules",
    "batches",
    "waitpoints",
    "errors",
    "versions",
    "variables",
    "keys",
    "workers",
    "usage",
    "settings",
)


async def main(count: int = listing.COUNT) -> None:
    """Print each page's milliseconds, the first one's too, and a page of nothing beside it."""
    async with stage() as made:
        await _fill(made, count)
        handle = await tasks.trigger("steps", SPANS)
        await handle.result(timeout=300)
        cookies = {"outlast": await _signed_in(made.url)}
        async with httpx.AsyncClient(
            base_url=made.apis[0],
            cookies=cookies,
            follow_redirects=True,
            timeout=60,
            trust_env=False,
        ) as browser:
            base, _, landed = str((await browser.get("/")).url).rpartition("/")
            assert landed == "tasks", landed
            print(f"{'':32} {'median ms':>9} {'first ms':>9} {'max ms':>9} {'healthz':>9}  KB")
            queues = (await browser.get(f"{base}/queues")).text
            queue = re.findall(r"queues/([^\"/?]+)\"", queues)[0]
            for page in (*PAGES, f"queues/{queue}", f"runs/{handle.id}"):
                limit = RUN_LIMIT_MS if page.endswith(handle.id) else LIMIT_MS
                await _print(browser, page, f"{base}/{page}", limit)


async def _print(browser: httpx.AsyncClient, name: str, url: str, limit: float) -> None:
    times, floor, size = [], [], 0
    for _ in range(_REPEATS):
        began = time.perf_counter()
        answer = (await browser.get(url)).raise_for_status()
        times.append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        (await browser.get("/healthz")).raise_for_status()
        floor.append((time.perf_counter() - began) * 1000)
        size = len(answer.content)
    late = "" if statistics.median(times) < limit else f"  over {limit:.0f} ms"
    print(
        f"{name:32} {statistics.median(times):>9.1f} {times[0]:>9.1f} {max(times):>9.1f}"
        f" {statistics.median(floor):>9.1f}  {size / 1024:.0f}{late}",
        flush=True,
    )


async def _signed_in(url: str) -> str:
    """Return the cookie of somebody who may do everything."""
    async with await Database.open(DatabaseSettings(url=url, pool_size=1)) as database:
        users = Users(database, Ids(database))
        await users.add("bench", Role.ADMIN, "correct horse")
        secret = await users.log_in("bench", "correct horse")
        assert secret is not None
        return secret


async def _fill(made: Stage, count: int) -> None:
    """Put runs that have ended behind the platform, and what it would have counted of them."""
    connection = await asyncpg.connect(made.url)
    try:
        environment = await connection.fetchval("select environment_id from outlast.session")
        await listing.fill(made.url, environment, count)
        ended = await connection.fetch("select run_id, status from outlast.run_end")
    finally:
        await connection.close()
    async with await Database.open(DatabaseSettings(url=made.url, pool_size=2)) as database:
        failures = Failures(database, clock=lambda: None)
        activity = Activity(database, failures=failures, clock=lambda: None)
        for first in range(0, len(ended), _PORTION):
            for row in ended[first : first + _PORTION]:
                activity.ended(environment, row["run_id"], row["status"])
            await activity.flush()
