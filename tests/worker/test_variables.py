"""Runs get the variables that are stored, and new runs those that were changed meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fake_server import FakeServer, claim
from outlast.protocol.frames import Kind
from outlast.worker import events
from outlast.worker.findings import Findings, Problem
from outlast.worker.link import RefusedError
from outlast.worker.settings import WorkerSettings
from outlast.worker.supervisor import Worker
from polling import until
from worker_rig import Rig, manifest


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer() as server:
        server.store(STORED="one")
        yield server


async def started(rig: Rig, stored: str | None, count: int = 1) -> dict[str, Any]:
    """Wait for executors that were started with a value."""

    def found() -> list[dict[str, Any]]:
        return [each for each in rig.notes("READY") if each["stored"] == stored]

    await until(lambda: len(found()) >= count, what=f"{count} executors with {stored}")
    return found()[-1]


async def claimed(rig: Rig, run: str) -> str | None:
    """Return what a run sees."""
    note = await rig.noted("CLAIM", run)
    seen: str | None = note["stored"]
    return seen


async def test_code_is_imported_and_runs_with_what_is_stored(
    server: FakeServer, tmp_path: Path
) -> None:
    rig = Rig(server, tmp_path)
    imported: list[WorkerSettings] = []

    async def discover(settings: WorkerSettings) -> Findings:
        imported.append(settings)
        return rig.findings

    rig.worker = Worker(rig.settings, on_event=rig.events.append, discover=discover)
    async with rig.running():
        await server.push(claim("run_1", "quick"))
        assert await claimed(rig, "run_1") == "one"

    assert [each.stored.values for each in imported] == [{"STORED": "one"}]


async def test_a_change_reaches_the_next_run_and_ends_none(
    server: FakeServer, tmp_path: Path
) -> None:
    async with Rig(server, tmp_path).running() as rig:
        await server.push(claim("run_1", "hang"))
        assert await claimed(rig, "run_1") == "one"

        server.store(STORED="two")
        await started(rig, "two")
        await server.push(claim("run_2", "quick"))

        assert await claimed(rig, "run_2") == "two"
        await server.heard(Kind.COMPLETE, "run_2")
        assert not server.said(Kind.GONE)
        assert not server.said(Kind.CRASH)


async def test_def_runs_get_a_change_too(server: FakeServer, tmp_path: Path) -> None:
    rig = Rig(server, tmp_path)
    rig.findings = Findings(manifest(dedicated=True))
    async with rig.running():
        await started(rig, "one", 2)
        server.store(STORED="two")
        await started(rig, "two", 2)

        await server.push(claim("run_1", "quick", executor="dedicated"))

        assert await claimed(rig, "run_1") == "two"


async def test_a_parked_run_goes_on_cold_where_the_change_is_known(
    server: FakeServer, tmp_path: Path
) -> None:
    async with Rig(server, tmp_path).running() as rig:
        await server.push(claim("run_1", "wait"))
        await rig.noted("ACK", "run_1")

        server.store(STORED="two")
        await rig.noted("GOODBYE")
        await started(rig, "two")
        await server.push(claim("run_1", "wait", 2, resume="warm"))
        await server.heard(Kind.GONE, "run_1")
        await server.push(claim("run_1", "quick", 3, resume="cold"))

        await server.heard(Kind.COMPLETE, "run_1")
        assert rig.notes("CLAIM", "run_1")[-1]["stored"] == "two"
        assert not server.said(Kind.CRASH)


async def test_the_same_values_start_nothing_anew(server: FakeServer, tmp_path: Path) -> None:
    async with Rig(server, tmp_path).running() as rig:
        server.store(STORED="one")
        heard = len(server.heartbeats)
        await until(lambda: len(server.heartbeats) > heard + 3)
        await server.push(claim("run_1", "quick"))
        await server.heard(Kind.COMPLETE, "run_1")

        assert len(rig.notes("READY")) == 1


async def test_code_that_breaks_with_new_values_goes_on_with_the_old_ones(
    server: FakeServer, tmp_path: Path
) -> None:
    async with Rig(server, tmp_path).running() as rig:
        rig.findings = Findings(errors=(Problem("trigger/a.py", "KeyError"),))
        server.store()
        await until(lambda: rig.told(events.Rejected))
        await server.push(claim("run_1", "quick"))
        assert await claimed(rig, "run_1") == "one"

        rig.findings = Findings(manifest())
        server.store(STORED="three")
        await started(rig, "three")


async def test_a_worker_waits_for_a_server_before_it_imports_code(
    server: FakeServer, tmp_path: Path
) -> None:
    server.turns_away = HTTPStatus.SERVICE_UNAVAILABLE
    rig = Rig(server, tmp_path)
    job = asyncio.create_task(rig.worker.run(rig.stop))
    await until(lambda: rig.told(events.Disconnected))
    assert not rig.notes("READY")

    server.turns_away = None

    await until(lambda: rig.told(events.Ready))
    assert (await started(rig, "one"))["stored"] == "one"
    rig.stop.set()
    await job


async def test_a_worker_that_waits_for_a_server_stops_when_asked(tmp_path: Path) -> None:
    async with FakeServer() as server:
        server.turns_away = HTTPStatus.SERVICE_UNAVAILABLE
        rig = Rig(server, tmp_path)
        job = asyncio.create_task(rig.worker.run(rig.stop))
        await until(lambda: rig.told(events.Disconnected))

        rig.stop.set()

        await job


async def test_a_wrong_key_is_told_at_once(server: FakeServer, tmp_path: Path) -> None:
    server.turns_away = HTTPStatus.UNAUTHORIZED
    rig = Rig(server, tmp_path)

    with pytest.raises(RefusedError, match="secret key"):
        await rig.worker.run(rig.stop)


async def test_a_server_that_knows_no_variables_has_none(tmp_path: Path) -> None:
    async with FakeServer() as server:
        server.variables = None
        async with Rig(server, tmp_path).running() as rig:
            await server.push(claim("run_1", "quick"))

            assert await claimed(rig, "run_1") is None


async def test_a_server_that_starts_beside_the_worker_tells_before_the_first_run(
    server: FakeServer, tmp_path: Path
) -> None:
    rig = Rig(server, tmp_path)
    opened: asyncio.Future[WorkerSettings] = asyncio.get_running_loop().create_future()
    nowhere = msgspec.structs.replace(rig.settings, api_urls=("http://127.0.0.1:1",))
    rig.worker = Worker(nowhere, on_event=rig.events.append, discover=rig.discover, opened=opened)
    job = asyncio.create_task(rig.worker.run(rig.stop))
    await started(rig, None)

    opened.set_result(rig.settings)
    await server.connected()
    await started(rig, "one")
    await server.push(claim("run_1", "quick"))

    assert await claimed(rig, "run_1") == "one"
    rig.stop.set()
    await job
