"""The supervisor over real executor processes (a stub) and a scripted server."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fake_server import FakeServer, claim
from outlast.protocol.frames import Crash, Empty, Free, Kind, frame
from outlast.protocol.manifests import Manifest, TaskManifest
from outlast.protocol.triggers import Refusal
from outlast.worker import events
from outlast.worker.findings import Findings, Problem
from outlast.worker.link import RefusedError
from outlast.worker.settings import WorkerSettings
from outlast.worker.supervisor import NoTasksError, Worker
from polling import until

STUB = Path(__file__).parent.parent / "stub_executor.py"
SECRET = "tr_dev_" + "x" * 32


def manifest(digest: str = "d1", *, dedicated: bool = False) -> Manifest:
    task = TaskManifest(
        id="quick",
        executor="dedicated" if dedicated else "shared",
        file="trigger/quick.py",
        function="quick",
        queue="task/quick",
    )
    return Manifest(digest=digest, tasks=(task,), queues=(), runtime="python 3.11", sdk="0")


class Rig:
    """A worker with a stub executor on a fake server."""

    def __init__(self, server: FakeServer, root: Path, **options: Any) -> None:
        self.server = server
        self.root = root
        self.events: list[events.WorkerEvent] = []
        self.findings = Findings(manifest())
        self.stop = asyncio.Event()
        self.settings = WorkerSettings(
            **{
                "api_urls": (server.url,),
                "secret_key": SECRET,
                "project_root": root,
                "processes": 2,
                "drain": 5.0,
                "executor_command": (sys.executable, str(STUB)),
                **options,
            }
        )
        self.worker = Worker(self.settings, on_event=self.events.append, discover=self.discover)

    async def discover(self, settings: WorkerSettings) -> Findings:
        return self.findings

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Rig"]:
        job = asyncio.create_task(self.worker.run(self.stop))
        try:
            await until(lambda: job.done() or self.told(events.Ready), what="ready")
            yield self
        finally:
            self.stop.set()
            await job

    def told(self, kind: type[events.WorkerEvent]) -> list[Any]:
        return [each for each in self.events if isinstance(each, kind)]

    def notes(self, kind: str, run: str | None = None) -> list[dict[str, Any]]:
        file = self.root / "notes.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        notes = [json.loads(line) for line in lines]
        return [each for each in notes if each["kind"] == kind and run in (None, each["run"])]

    async def noted(self, kind: str, run: str | None = None, count: int = 1) -> dict[str, Any]:
        await until(lambda: len(self.notes(kind, run)) >= count, what=f"{count} x {kind} {run}")
        return self.notes(kind, run)[count - 1]


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer() as server:
        yield server


@pytest.fixture
async def rig(server: FakeServer, tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(server, tmp_path)
    async with rig.running():
        yield rig


@pytest.fixture
async def dedicated(server: FakeServer, tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(server, tmp_path)
    rig.findings = Findings(manifest(dedicated=True))
    async with rig.running():
        yield rig


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def free_is(server: FakeServer, **free: int) -> None:
    def last() -> dict[str, int]:
        told = server.said(Kind.FREE)
        return msgspec.msgpack.decode(told[-1].body, type=Free).free if told else {}

    await until(lambda: free.items() <= last().items(), what=f"free {free}")


async def test_a_run_starts_and_completes(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "quick"))

    await rig.server.heard(Kind.COMPLETE, "run_1")
    await until(lambda: rig.told(events.RunEnded))

    started, ended = rig.told(events.RunStarted)[0], rig.told(events.RunEnded)[0]
    assert (started.run, started.task) == ("run_1", "quick")
    assert (ended.run, ended.task, ended.ok) == ("run_1", "quick", True)
    assert rig.told(events.Ready)[0].version == "20260101.1"


async def test_executors_are_groups_of_their_own_without_the_key(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTLAST_SECRET_KEY", SECRET)
    monkeypatch.setenv("MY_COPY", f"key={SECRET}")
    async with Rig(server, tmp_path, loops=2).running() as rig:
        await free_is(server, shared=1000)
        for number in range(4):
            await server.push(claim(f"run_{number}", "hang"))
        await rig.noted("CLAIM", count=4)

    claims = rig.notes("CLAIM")
    assert len({each["pid"] for each in claims}) == 2
    assert len({each["seed"] for each in claims}) == 1
    assert claims[0]["seed"] not in (None, "random")
    assert all(each["secrets"] == [] and each["alone"] for each in claims)


async def test_a_parked_run_resumes_where_it_waits(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "wait"))
    await rig.noted("ACK", "run_1", count=2)  # of STARTED and SUSPEND

    await rig.server.push(claim("run_1", "wait", 2, resume="warm"))

    complete = await rig.server.heard(Kind.COMPLETE, "run_1")
    assert (complete.token, complete.number) == (2, 1)
    assert len({each["pid"] for each in rig.notes("CLAIM")}) == 1


async def test_a_warm_claim_for_nobody_is_gone(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "wait", 7, resume="warm"))

    gone = await rig.server.heard(Kind.GONE, "run_1")
    assert (gone.token, gone.number) == (7, 1)
    assert rig.notes("CLAIM") == []


async def test_a_warm_claim_after_a_lost_acknowledgement_finds_the_run(rig: Rig) -> None:
    rig.server.acknowledges = False
    await rig.server.push(claim("run_1", "wait"))
    await rig.server.heard(Kind.SUSPEND, "run_1")
    rig.server.acknowledges = True

    await rig.server.push(claim("run_1", "wait", 2, resume="warm"))

    await rig.server.heard(Kind.COMPLETE, "run_1")


async def test_a_claim_pushed_twice_is_taken_once(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "hang"), claim("run_1", "hang"))
    await rig.server.push(claim("run_2", "hang"))

    await rig.noted("CLAIM", "run_2")
    assert len(rig.notes("CLAIM", "run_1")) == 1


async def test_heartbeats_carry_the_list_when_it_changed(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "hang", 4))

    def listed() -> list[tuple[str, int]]:
        lists = [each.held for each in rig.server.heartbeats if each.held is not None]
        return [(each.run, each.token) for each in lists[-1]] if lists else []

    await until(lambda: listed() == [("run_1", 4)])
    before = len(rig.server.heartbeats)
    await until(lambda: len(rig.server.heartbeats) > before + 1)
    assert rig.server.heartbeats[-1].held is None
    assert rig.server.heartbeats[-1].digest == "1c8d3520302210ad"  # of run_1:4


async def test_what_a_dying_executor_said_arrives_before_its_crash(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "hang"))
    await rig.noted("CLAIM", "run_1")
    await rig.server.push(claim("run_2", "crash"))

    crash = msgspec.msgpack.decode((await rig.server.heard(Kind.CRASH)).body, type=Crash)

    kinds = [each.kind for each in rig.server.frames]
    assert kinds.index(Kind.CRASH) > max(i for i, kind in enumerate(kinds) if kind == Kind.STEP)
    assert len(rig.server.said(Kind.STEP, "run_2")) == 200
    assert {each.run for each in crash.runs} == {"run_1", "run_2"}
    assert crash.guilty is None
    assert "SIGSEGV" in crash.error.message
    await rig.server.push(claim("run_3", "quick"))
    await rig.server.heard(Kind.COMPLETE, "run_3")


async def test_the_run_that_blocked_its_loop_is_named(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "wait"), claim("run_2", "hang"))
    await rig.noted("ACK", "run_1", count=2)
    await rig.server.push(claim("run_3", "blocked"))

    crash = msgspec.msgpack.decode((await rig.server.heard(Kind.CRASH)).body, type=Crash)

    assert crash.guilty == "run_3"
    assert {each.run for each in crash.runs} == {"run_2", "run_3"}
    assert [each.run for each in crash.parked] == ["run_1"]
    assert crash.error.type == "BlockedLoop"


async def test_another_executor_helps_while_a_loop_is_blocked(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "stuck"))
    await rig.noted("CLAIM", "run_1")
    await free_is(rig.server, shared=0)

    await rig.server.push(claim("run_2", "quick"))

    await rig.server.heard(Kind.COMPLETE, "run_2")
    (rig.root / "unblocked").touch()
    await rig.server.heard(Kind.STARTED, "run_1")
    await rig.noted("GOODBYE")  # the helper, as nobody needs it any more
    await free_is(rig.server, shared=499)
    assert not rig.server.said(Kind.CRASH)


async def test_a_dedicated_executor_dies_alone(dedicated: Rig) -> None:
    await dedicated.server.push(
        claim("run_1", "hang", executor="dedicated"), claim("run_2", "crash", executor="dedicated")
    )

    crash = msgspec.msgpack.decode((await dedicated.server.heard(Kind.CRASH)).body, type=Crash)

    assert crash.guilty == "run_2"
    assert [each.run for each in crash.runs] == ["run_2"]


async def test_dedicated_executors_are_reused(dedicated: Rig) -> None:
    for number in range(4):
        await dedicated.server.push(claim(f"run_{number}", "quick", executor="dedicated"))
        await dedicated.server.heard(Kind.COMPLETE, f"run_{number}")

    assert len({each["pid"] for each in dedicated.notes("CLAIM")}) <= 2


async def test_no_more_than_processes_execute(dedicated: Rig) -> None:
    names = [f"run_{number}" for number in range(3)]
    await dedicated.server.push(*(claim(run, "hang", executor="dedicated") for run in names))
    await dedicated.noted("CLAIM", "run_1")

    await dedicated.server.push(frame(Kind.CANCEL, Empty(), run="run_0", token=1))

    await dedicated.noted("CLAIM", "run_2")
    assert dedicated.notes("CANCEL", "run_0")


async def test_a_parked_dedicated_run_keeps_its_process_and_gives_its_place(
    dedicated: Rig,
) -> None:
    for number in range(2):
        await dedicated.server.push(claim(f"run_{number}", "wait", executor="dedicated"))
        await dedicated.noted("ACK", f"run_{number}", count=2)
    for number in (2, 3):
        await dedicated.server.push(claim(f"run_{number}", "hang", executor="dedicated"))
        await dedicated.noted("CLAIM", f"run_{number}")

    await dedicated.server.push(claim("run_0", "wait", 2, resume="warm", executor="dedicated"))

    await dedicated.server.heard(Kind.COMPLETE, "run_0")
    assert len({each["pid"] for each in dedicated.notes("CLAIM")}) == 4


async def test_the_longest_parked_process_leaves_first(dedicated: Rig) -> None:
    for number in range(3):
        await dedicated.server.push(claim(f"run_{number}", "wait", executor="dedicated"))
        await dedicated.noted("ACK", f"run_{number}", count=2)

    await dedicated.noted("GOODBYE")
    await dedicated.server.push(claim("run_0", "wait", 2, resume="warm", executor="dedicated"))
    await dedicated.server.push(claim("run_1", "wait", 2, resume="warm", executor="dedicated"))

    await dedicated.server.heard(Kind.GONE, "run_0")
    await dedicated.server.heard(Kind.COMPLETE, "run_1")
    assert not dedicated.server.said(Kind.CRASH)


async def test_a_parked_process_that_leaves_is_no_crash(dedicated: Rig) -> None:
    await dedicated.server.push(claim("run_1", "leave", executor="dedicated"))
    pid = (await dedicated.noted("CLAIM", "run_1"))["pid"]
    await until(lambda: not Path(f"/proc/{pid}").exists())

    await dedicated.server.push(claim("run_1", "leave", 2, resume="warm", executor="dedicated"))

    await dedicated.server.heard(Kind.GONE, "run_1")
    assert not dedicated.server.said(Kind.CRASH)


async def test_a_drop_kills_the_dedicated_process_without_a_word(dedicated: Rig) -> None:
    await dedicated.server.push(claim("run_1", "hang", executor="dedicated"))
    pid = (await dedicated.noted("CLAIM", "run_1"))["pid"]

    await dedicated.server.push(frame(Kind.DROP, Empty(), run="run_1", token=1))

    await until(lambda: not alive(pid))
    await dedicated.server.push(claim("run_2", "quick", executor="dedicated"))
    await dedicated.server.heard(Kind.COMPLETE, "run_2")
    assert not dedicated.server.said(Kind.CRASH)


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
            await rig.noted("ACK", "run_1", count=2)
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

    with pytest.raises(NoTasksError, match="there is no folder"):
        await rig.worker.run(rig.stop, reloads=False)


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
    assert (await server.connected()).free == {"shared": 0, "dedicated": 0}

    (tmp_path / "broken").unlink()

    await free_is(server, shared=500, dedicated=2)
    rig.stop.set()
    await job


@pytest.mark.processes
async def test_a_killed_supervisor_leaves_no_executor(server: FakeServer, tmp_path: Path) -> None:
    script = tmp_path / "supervise.py"
    script.write_text(
        textwrap.dedent(f"""
        import asyncio, sys
        from pathlib import Path
        from outlast.protocol.manifests import Manifest, TaskManifest
        from outlast.worker.findings import Findings
        from outlast.worker.settings import WorkerSettings
        from outlast.worker.supervisor import Worker

        async def discover(settings):
            task = TaskManifest(id="t", executor="dedicated", file="", function="", queue="")
            return Findings(Manifest(digest="d", tasks=(task,), queues=(), runtime="", sdk=""))

        settings = WorkerSettings(
            api_urls=({server.url!r},), secret_key="k", project_root=Path({str(tmp_path)!r}),
            executor_command=(sys.executable, {str(STUB)!r}),
        )
        worker = Worker(settings, on_event=lambda event: None, discover=discover)
        asyncio.run(worker.run(asyncio.Event()))
        """)
    )
    supervisor = subprocess.Popen([sys.executable, str(script)])  # noqa: ASYNC220 - must be killable
    notes = Rig(server, tmp_path)
    try:
        await server.connected()
        await free_is(server, shared=500)
        await server.push(claim("run_1", "hang"), claim("run_2", "hang", executor="dedicated"))
        await notes.noted("CLAIM", "run_1")
        await notes.noted("CLAIM", "run_2")
        pids = {each["pid"] for each in notes.notes("CLAIM")}
        assert len(pids) == 2
    finally:
        os.kill(supervisor.pid, signal.SIGKILL)
        supervisor.wait()

    await until(lambda: not any(map(alive, pids)), seconds=1.0)
