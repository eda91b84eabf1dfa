"""Subscribers through real servers: one that is killed, one that never sees the run's worker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from fleet import Fleet, fleet
from outlast import aclose, runs
from outlast.client.subscriptions import RunUpdate

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

PATIENCE = 60.0


@pytest.fixture
async def fleets(tmp_path: Path, fresh_url: str) -> AsyncIterator[Fleet]:
    async with fleet(tmp_path, url=fresh_url) as made:
        yield made


def call(monkeypatch: pytest.MonkeyPatch, made: Fleet, api: str) -> None:
    """Make the SDK of this process talk to one server."""
    monkeypatch.setenv("OUTLAST_API_URL", api)
    monkeypatch.setenv("OUTLAST_SECRET_KEY", made.key)


async def test_a_server_that_never_sees_the_worker_tells_how_its_run_ends(
    fleets: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What other servers change is found in the database; nobody has to tell."""
    await fleets.server()
    await fleets.server()
    near, far = fleets.apis
    await fleets.worker(apis=[far])
    call(monkeypatch, fleets, near)
    gate = tmp_path / "gate"
    [run] = await fleets.trigger("gated", payload=str(gate))
    seen: list[str] = []

    async with asyncio.timeout(PATIENCE), aclosing(runs.subscribe(run)) as updates:
        async for update in updates:
            seen.append(update.status)
            if update.status == "EXECUTING":
                gate.touch()

    assert seen[-1] == "COMPLETED"
    await aclose()


async def test_a_killed_server_costs_no_final_state(
    fleets: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends through another server while the subscriber's is away; it comes back empty."""
    first = await fleets.server()
    await fleets.server()
    near, far = fleets.apis
    await fleets.worker(apis=[far])
    call(monkeypatch, fleets, near)
    gate = tmp_path / "gate"
    [run] = await fleets.trigger("gated", payload=str(gate))
    executing = asyncio.Event()

    async def follow() -> list[RunUpdate]:
        seen = []
        async with aclosing(runs.subscribe(run)) as updates:
            async for update in updates:
                seen.append(update)
                if update.status == "EXECUTING":
                    executing.set()
        return seen

    async with asyncio.timeout(PATIENCE):
        following = asyncio.create_task(follow())
        await executing.wait()
        first.kill()
        first.wait()
        gate.touch()
        await fleets.ended([run])
        await fleets.server(api=near)
        seen = await following

    assert seen[-1].is_success
    assert seen[-1].finished_at is not None
    assert await fleets.audit() == []
    await aclose()
