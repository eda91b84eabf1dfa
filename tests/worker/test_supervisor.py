"""The supervisor survives servers, its own end and changed code, over a stub executor."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from fake_server import FakeServer, claim
from outlast.clock import boot_seconds
from outlast.protocol.frames import Kind, frame
from outlast.protocol.messages import Empty
from outlast.protocol.triggers import Refusal
from outlast.worker import events
from outlast.worker.findings import Findings, Problem
from outlast.worker.link import RefusedError
from outlast.worker.settings import WorkerSettings
from outlast.worker.supervisor import NoTasksError, Worker
from polling import until
from worker_rig import STUB, Rig, alive, capacity_is, manifest


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer() as server:
        yield server


@pytest.fixture
async def rig(server: FakeServer, tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(server, tmp_path)
    async with rig.running():
        yield rig


async def test_executors_start_before_there_is_a_server(server: FakeServer, tmp_path: Path) -> None:
    rig = Rig(server, tmp_path)
    opened: asyncio.Future[WorkerSettings] = asyncio.get_running_loop().create_future()
    (tmp_path / "broken").touch()  # an executor notes nothing before it has a claim: watch it end
    nowhere = msgspec.structs.replace(rig.settings, api_urls=("http://127.0.0.1:1",))
    rig.worker = Worker(nowhere, on_event=rig.events.append, discover=rig.discover, opened=opened)
    job = asyncio.create_task(rig.worker.run(rig.stop))
    await until(lambda: rig.told(events.ExecutorDied))
    assert not server.hellos
    (tmp_path / "broken").unlink()

    opened.set_result(rig.settings)

    await until(lambda: rig.told(events.Ready))
    assert not rig.told(events.Disconnected)
    rig.stop.set()
    await job


async def test_a_server_hears_of_an_executor_that_was_ready_between_hello_and_welcome(
    server: FakeServer, tmp_path: Path
) -> None:
    server.opens.clear()
    rig = Rig(server, tmp_path)
    (tmp_path / "broken").touch()
    job = asyncio.create_task(rig.worker.run(rig.stop))
    hello = await server.connected()
    assert hello.capacity == {"shared": 0, "dedicated": 0}
    (tmp_path / "broken").unlink()
    await rig.noted("READY")
    server.opens.set()

    await capacity_is(server, shared=500)

    rig.stop.set()
    await job


async def test_a_worker_that_stops_before_there_is_a_server_leaves_nothing(
    server: FakeServer, tmp_path: Path
) -> None:
    rig = Rig(server, tmp_path)
    opened: asyncio.Future[WorkerSettings] = asyncio.get_running_loop().create_future()
    rig.worker = Worker(
        rig.settings, on_event=rig.events.append, discover=rig.discover, opened=opened
    )
    rig.stop.set()

    await rig.worker.run(rig.stop)

    assert not server.hellos


async def test_unacknowledged_frames_are_sent_again_after_a_reconnect(rig: Rig) -> None:
    rig.server.acknowledges = False
    await rig.server.push(claim("run_1", "quick"))
    await rig.server.heard(Kind.COMPLETE, "run_1")
    rig.server.sockets[-1].transport.abort()

    hello = await rig.server.connected(2)
    await rig.server.heard(Kind.COMPLETE, "run_1", count=2)

    assert hello.session == rig.server.hellos[0].session
    assert [(each.run, each.token) for each in hello.held] == [("run_1", 1)]
    numbers = [each.number for each in rig.server.frames if each.run == "run_1"]
    assert numbers == [1, 2, 1, 2]
    assert rig.told(events.Disconnected)


async def test_goodbye_of_a_server_moves_the_worker_with_its_runs(tmp_path: Path) -> None:
    async with FakeServer() as one, FakeServer() as two:
        async with Rig(one, tmp_path, api_urls=(one.url, two.url)).running() as rig:
            await one.push(claim("run_1", "wait"))
            await rig.noted("ACK", "run_1")
            await one.push(frame(Kind.GOODBYE, Empty()))

            hello = await two.connected()
            await two.push(claim("run_1", "wait", 2, resume="warm"))
            await two.heard(Kind.COMPLETE, "run_1")

        assert hello.session == one.hellos[0].session


async def test_silence_costs_the_runs_and_the_session(tmp_path: Path) -> None:
    async with FakeServer(lease=1.5) as server, Rig(server, tmp_path).running() as rig:
        await server.push(claim("run_1", "hang"))
        pid = (await rig.noted("CLAIM", "run_1"))["pid"]
        server.beats = False
        server.refusal = Refusal(500, "internal", "the server is ill")

        await until(lambda: rig.told(events.Fenced))
        assert rig.told(events.Fenced) == [events.Fenced(runs=1)]
        await until(lambda: not alive(pid))
        server.beats, server.refusal = True, None

        await until(lambda: len({each.session for each in server.hellos}) == 2)
        assert server.hellos[-1].held == ()
        assert not server.said(Kind.CRASH)


async def test_a_database_that_is_away_costs_nothing(tmp_path: Path) -> None:
    async with FakeServer(lease=1.5) as server, Rig(server, tmp_path).running() as rig:
        await server.push(claim("run_1", "hang"))
        await rig.noted("CLAIM", "run_1")
        server.beats = False
        server.refusal = Refusal(503, "unavailable", "the database is away")

        await until(lambda: len(rig.told(events.Disconnected)) >= 3)
        server.beats, server.refusal = True, None

        await server.connected(2)
        assert {each.session for each in server.hellos} == {server.hellos[0].session}
        assert not rig.told(events.Fenced)


async def test_drain_hands_everything_back_and_says_goodbye(
    server: FakeServer, tmp_path: Path
) -> None:
    async with Rig(server, tmp_path).running() as rig:
        await server.push(claim("run_1", "hang"))
        pid = (await rig.noted("CLAIM", "run_1"))["pid"]

    gone = server.said(Kind.GONE, "run_1")
    assert [(each.token, each.number) for each in gone] == [(1, 2)]
    assert server.said(Kind.GOODBYE)
    assert not server.said(Kind.CRASH)
    assert not alive(pid)


async def test_drain_kills_what_does_not_leave(server: FakeServer, tmp_path: Path) -> None:
    async with Rig(server, tmp_path, drain=0.3).running() as rig:
        await server.push(claim("run_1", "stubborn"))
        pid = (await rig.noted("CLAIM", "run_1"))["pid"]

    assert not alive(pid)
    assert server.said(Kind.GONE, "run_1")
    assert server.said(Kind.GOODBYE)


async def test_changed_code_is_a_session_of_its_own(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "hang"))
    await rig.noted("CLAIM", "run_1")
    rig.findings = Findings(manifest("d2"))

    assert await rig.worker.reload()

    assert [each.manifest.digest for each in rig.server.hellos] == ["d1", "d2"]
    assert len({each.session for each in rig.server.hellos}) == 2
    await rig.server.heard(Kind.GONE, "run_1")
    await rig.server.heard(Kind.GOODBYE)
    await rig.server.push(claim("run_1", "quick", 2, resume="cold"))
    await rig.server.heard(Kind.COMPLETE, "run_1")


async def test_broken_code_keeps_the_last_good_version(rig: Rig) -> None:
    problem = Problem("trigger/quick.py", "SyntaxError: invalid syntax", 3)
    rig.findings = Findings(manifest("d2"), errors=(problem,))

    assert not await rig.worker.reload()

    assert rig.told(events.Rejected)[0].errors == (problem,)
    await rig.server.push(claim("run_1", "quick"))
    await rig.server.heard(Kind.COMPLETE, "run_1")
    assert len(rig.server.hellos) == 1


async def test_without_tasks_a_worker_does_not_start(server: FakeServer, tmp_path: Path) -> None:
    rig = Rig(server, tmp_path)
    rig.findings = Findings(errors=(Problem("trigger", "there is no folder"),))

    with pytest.raises(NoTasksError, match="correct what is named above") as raised:
        await rig.worker.run(rig.stop, reloads=False)

    (told,) = rig.told(events.Rejected)
    assert told.errors == raised.value.errors == rig.findings.errors
    assert "there is no folder" not in str(raised.value)  # said once


async def test_a_refused_worker_gives_up_with_the_reason(
    server: FakeServer, tmp_path: Path
) -> None:
    server.refusal = Refusal(400, "protocol", "upgrade the worker")

    with pytest.raises(RefusedError, match="upgrade the worker"):
        await Rig(server, tmp_path).worker.run(asyncio.Event())


async def test_executors_that_do_not_start_are_tried_again(
    server: FakeServer, tmp_path: Path
) -> None:
    (tmp_path / "broken").touch()
    rig = Rig(server, tmp_path)
    job = asyncio.create_task(rig.worker.run(rig.stop))
    await until(lambda: len(rig.told(events.ExecutorDied)) >= 2)
    assert (await server.connected()).capacity == {"shared": 0, "dedicated": 0}

    (tmp_path / "broken").unlink()

    await capacity_is(server, shared=500, dedicated=2)
    rig.stop.set()
    await job


SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from outlast.cli.signals import stop_signals
from outlast.protocol.manifests import Manifest, TaskManifest
from outlast.worker.findings import Findings
from outlast.worker.settings import WorkerSettings
from outlast.worker.supervisor import Worker

async def discover(settings):
    task = TaskManifest(id="t", executor="dedicated", file="", function="", queue="")
    return Findings(Manifest(digest="d", tasks=(task,), queues=(), runtime="", sdk=""))

async def main(url, root, stub):
    settings = WorkerSettings(
        api_urls=(url,), secret_key="k", project_root=Path(root),
        executor_command=(sys.executable, stub),
    )
    kill = asyncio.Event()
    with stop_signals("draining", kill=kill) as stop:
        worker = Worker(settings, on_event=lambda event: None, discover=discover)
        await worker.run(stop, kill=kill)

asyncio.run(main(*sys.argv[1:]))
"""


class Supervisor:
    """A worker in a process of its own, with one run in each kind of executor."""

    def __init__(self, server: FakeServer, root: Path) -> None:
        self.server = server
        self.rig = Rig(server, root)
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, server.url, str(root), str(STUB)]
        )

    @contextlib.asynccontextmanager
    async def busy(self, task: str = "hang") -> AsyncIterator[set[int]]:
        """Give the pids of two executors that execute a run each."""
        try:
            await self.server.connected()
            await capacity_is(self.server, shared=500)
            await self.server.push(claim("run_1", task), claim("run_2", task, executor="dedicated"))
            await self.rig.noted("CLAIM", "run_1")
            await self.rig.noted("CLAIM", "run_2")
            pids = {each["pid"] for each in self.rig.notes("CLAIM")}
            assert len(pids) == 2
            yield pids
        finally:
            self.process.kill()
            self.process.wait()


@pytest.mark.processes
async def test_a_killed_supervisor_leaves_no_executor(server: FakeServer, tmp_path: Path) -> None:
    supervisor = Supervisor(server, tmp_path)
    async with supervisor.busy() as pids:
        supervisor.process.kill()

        await until(lambda: not any(map(alive, pids)), seconds=1.0)


@pytest.mark.processes
async def test_a_stopped_supervisor_ends_its_executors_when_it_goes_on(tmp_path: Path) -> None:
    async with FakeServer(lease=1.5) as server:
        supervisor = Supervisor(server, tmp_path)
        async with supervisor.busy() as pids:
            supervisor.process.send_signal(signal.SIGSTOP)
            over = boot_seconds() + server.lease
            await server.push(claim("run_3", "quick"))
            await until(lambda: boot_seconds() > over, what="the end of the lease")
            supervisor.process.send_signal(signal.SIGCONT)

            await until(lambda: not any(map(alive, pids)))
            await until(lambda: len({each.session for each in server.hellos}) == 2)
            assert server.hellos[-1].held == ()
            assert not server.said(Kind.STARTED, "run_3")


@pytest.mark.processes
async def test_the_first_signal_drains_and_the_second_kills(
    server: FakeServer, tmp_path: Path
) -> None:
    supervisor = Supervisor(server, tmp_path)
    async with supervisor.busy("stubborn") as pids:
        supervisor.process.send_signal(signal.SIGTERM)
        await supervisor.rig.noted("GOODBYE", count=2)
        assert supervisor.process.poll() is None

        supervisor.process.send_signal(signal.SIGTERM)

        await until(lambda: supervisor.process.poll() is not None)
        assert supervisor.process.returncode == 0
        assert not any(map(alive, pids))
        assert server.said(Kind.GONE, "run_1")
        assert server.said(Kind.GONE, "run_2")
