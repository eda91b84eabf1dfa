"""Runs call the API with a token of their worker's: no key is in their environment."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from fleet import Fleet, fleet

pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]

TASKS = '''\
"""Tasks that call the API, in a project without settings."""

import os

from outlast import Client, SyncClient, auth, queues, runs, schedules, task, tasks, wait
from outlast.client.settings import settings


@task("sheet")
async def sheet(payload: str) -> str:
    return payload


def held() -> list[str]:
    """Return what in this process looks like a key or says where the API is."""
    return sorted(
        name
        for name, value in os.environ.items()
        if "tr_dev_" in value or name in ("OUTLAST_API_URL", "TRIGGER_API_URL")
    )


@task("calls")
async def calls(payload: str) -> dict[str, object]:
    handle = await sheet.trigger("later", delay="1h")
    listed = [run.id async for run in runs.list(task="sheet")]
    await handle.cancel()
    canceled = await runs.retrieve(handle.id)
    token = await wait.create_token(timeout="1h")
    await wait.complete_token(token, "approved")
    tokens = [one.status async for one in wait.list_tokens()]
    made = await schedules.create("sheet", cron="0 9 * * *", deduplication_key="mine")
    paused = await queues.pause("task/sheet")
    await queues.resume("task/sheet")
    public = await auth.create_public_token({"read": {"runs": handle.id}})
    found = settings()
    mine = Client(api_url=found.api_url, secret_key=public)
    seen = await mine.call(runs.retrieve, handle.id)
    return {
        "held": held(),
        "listed": handle.id in listed,
        "canceled": canceled.status,
        "tokens": tokens,
        "schedule": made.task,
        "paused": paused.paused,
        "seen": seen.status,
    }


@task("blocking")
def blocking(payload: str) -> dict[str, object]:
    handle = sheet.trigger_sync("later", delay="1h")
    handle.cancel_sync()
    public = auth.create_public_token_sync({"read": {"runs": handle.id}})
    mine = SyncClient(api_url=settings().api_url, secret_key=public)
    return {"held": held(), "canceled": mine.call(runs.retrieve_sync, handle.id).status}
'''


async def output(town: Fleet, task: str) -> Any:
    runs = await town.trigger(task, payload="now")
    await town.ended(runs)
    [row] = await town.sql("select output, error from outlast.run_end where run_id = $1", runs[0])
    assert row["error"] is None, row["error"]
    return json.loads(row["output"])


async def test_a_run_calls_the_api_without_any_setting(tmp_path: Path, fresh_url: str) -> None:
    """Async and blocking code alike; the environment's key never reaches the process."""
    async with fleet(tmp_path, url=fresh_url) as town:
        (tmp_path / "trigger" / "calling.py").write_text(TASKS)
        await town.server()
        await town.worker()

        told, blocking = await asyncio.gather(output(town, "calls"), output(town, "blocking"))

        assert told == {
            "held": [],
            "listed": True,
            "canceled": "CANCELED",
            "tokens": ["COMPLETED"],
            "schedule": "sheet",
            "paused": True,
            "seen": "CANCELED",
        }
        assert blocking == {"held": [], "canceled": "CANCELED"}
        assert await town.audit() == []
