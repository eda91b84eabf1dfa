"""Three servers look at the same schedules, and die between making the runs and saying so."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleet import Fleet, fleet
from outlast import aclose, schedules

pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]

TENANTS = 100
TASKS = """
from outlast import ScheduledPayload, schedules


@schedules.task("tick")
async def tick(payload: ScheduledPayload) -> str:
    return payload.timestamp.isoformat()
"""


@pytest.fixture
async def town(
    tmp_path: Path, fresh_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Fleet]:
    """Give three servers, two of which die right after a commit that made runs, and a worker."""
    async with fleet(tmp_path, TASKS, url=fresh_url) as made:
        for plan in ("triggers:killed:1", "triggers:killed:1", ""):
            await made.server(plan=plan)
        await made.worker()
        monkeypatch.setenv("OUTLAST_API_URL", made.apis[2])
        monkeypatch.setenv("OUTLAST_SECRET_KEY", made.key)
        yield made
        await aclose()
        assert await made.audit() == []


async def test_three_servers_fire_each_tick_once_and_two_of_them_die_over_it(town: Fleet) -> None:
    """Each tick is made due once the one before has been fired, until both have died."""
    made = await schedules.create("tick", cron="0 0 1 1 *", deduplication_key="0")
    await town.sql(
        """insert into outlast.schedule (id, environment_id, kind, task, deduplication_key,
             concurrency_key, cron, timezone, catchup, next_at, due_at)
           select 'sched_' || lpad(n::text, 26, '0'), environment_id, kind, task, n::text,
             'tenant ' || n % 7, cron, timezone, catchup, next_at, due_at
           from outlast.schedule, generate_series(1, $2::int - 1) n where id = $1""",
        made.id,
        TENANTS,
    )

    ticks = 0
    async with asyncio.timeout(100):
        while len(town.strikes()) < 2:
            ticks += 1
            await town.sql(
                "update outlast.schedule set due_at = clock_timestamp(),"
                " next_at = date_trunc('minute', clock_timestamp()) + make_interval(mins => $1)",
                ticks,
            )
            while not await all_fired(town):  # noqa: ASYNC110 - it happens in other processes
                await asyncio.sleep(0.1)

    rows = await town.sql("select id from outlast.run where schedule_id is not null")
    await town.all_ended([row["id"] for row in rows])
    fired = await town.sql(
        """select count(*) as runs from outlast.run where schedule_id is not null
           group by schedule_id, payload::json ->> 'timestamp'"""
    )
    assert [row["runs"] for row in fired] == [1] * (ticks * TENANTS)


async def all_fired(town: Fleet) -> bool:
    """Tell whether nothing is due. What a server holds, dead or alive, others may take at once."""
    await town.sql("update outlast.schedule set held_until = null where held_until is not null")
    return await town.count("select count(*) from outlast.schedule where due_at <= now()") == 0
