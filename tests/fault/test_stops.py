"""Servers told to stop, by the terminal or the scheduler, when nothing goes as it should."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from fleet import Fleet, fleet
from polling import until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]

STOP_SECONDS = 20.0
"""Orchestrators kill after 30: what is told to stop must have ended before."""


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(tmp_path) as made:
        yield made


async def unready(api: str) -> None:
    """Wait until a server has noticed that its database is away."""
    async with asyncio.timeout(30), httpx.AsyncClient(trust_env=False, timeout=30) as client:
        while (await client.get(f"{api}/readyz")).is_success:  # noqa: ASYNC110 - asked over HTTP
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("how", ["refuses", "does not answer"])
async def test_a_server_told_to_stop_ends_though_the_database_is_away(
    town: Fleet, how: str
) -> None:
    """In the middle of work: turns, tellings and journal writes are all in flight."""
    server = await town.server()
    await town.worker()
    runs = await town.trigger("family", 100)
    await town.some_effects(100)

    away = town.stopped_database if how == "refuses" else town.frozen_database
    async with away():
        await unready(town.apis[0])
        os.kill(server.pid, signal.SIGTERM)
        await until(
            lambda: server.poll() is not None, seconds=STOP_SECONDS, what=f"the end\n{town.logs()}"
        )

    assert server.returncode == 0, town.logs()
    await town.server(api=town.apis[0])
    await town.assert_whole(runs)
