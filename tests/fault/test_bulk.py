"""A bulk action whose server is killed between what it did and what it wrote down."""

import asyncio
import time
from pathlib import Path

import asyncpg
import httpx
import pytest

from fleet import Fleet, fleet

pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]

RUNS = 250
PORTION = 25  # replays at once
HELD = 150  # how many are written down when the server is killed
MADE = "select count(*) from outlast.run where replayed_from is not null"


async def reaches(town: Fleet, statement: str, count: int, *values: object) -> None:
    """Wait until a statement counts so many."""
    deadline = time.monotonic() + 30
    while (found := await town.count(statement, *values)) != count:
        assert time.monotonic() < deadline, f"{found} instead of {count}\n{town.logs()}"
        await asyncio.sleep(0.05)


async def test_a_killed_server_leaves_a_replay_that_the_next_one_ends_and_no_run_is_made_twice(
    tmp_path: Path, fresh_url: str
) -> None:
    async with fleet(tmp_path, url=fresh_url) as town:
        server = await town.server()
        await town.worker("--processes", "1")
        headers = {"authorization": f"Bearer {town.key}"}
        async with httpx.AsyncClient(
            base_url=town.apis[0], headers=headers, trust_env=False
        ) as client:
            await client.post("/api/outlast/v1/environment/pause")
            runs = sorted(await town.trigger("leaf", RUNS, "replayed"))
            wanted = {"action": "replay", "runIds": runs}
            bulk = (await client.post("/api/v1/bulk-actions", json=wanted)).json()["id"]

            holder = await asyncpg.connect(town.url)
            async with holder.transaction():  # what becomes of this run cannot be written down
                await holder.execute(
                    "select from outlast.bulk_run where bulk_id = $1 and run_id = $2 for update",
                    bulk,
                    runs[HELD],
                )
                await reaches(town, MADE, HELD + PORTION)
                server.kill()
                server.wait()
                await holder.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where wait_event_type = 'Lock'"
                )
            await holder.close()
            assert (
                await town.count("select count(*) from outlast.bulk_run where outcome is not null")
                == HELD
            )
            await town.sql("update outlast.bulk_action set lease_until = clock_timestamp()")

            await town.server(api=town.apis[0])
            ended = "select count(*) from outlast.bulk_action where status = 'completed'"
            await reaches(town, ended, 1)
            action = (await client.get(f"/api/v1/bulk-actions/{bulk}")).json()

        assert action["counts"] == {"total": RUNS, "success": RUNS, "failure": 0}
        rows = await town.sql(
            "select replayed_from from outlast.run where replayed_from is not null order by 1"
        )
        assert [row["replayed_from"] for row in rows] == runs
        assert await town.audit() == []
