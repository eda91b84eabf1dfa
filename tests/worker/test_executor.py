"""Executor processes: started as the supervisor starts them, running tasks of a project."""

import functools
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outlast.protocol.frames import Kind, frame
from outlast.protocol.messages import Goodbye
from polling import until
from remotes import Boot, Remote, booting, remote

TASKS = """
    import asyncio, os, subprocess, sys, time
    from outlast import Context, task, wait, step, step_sync

    @task("add")
    async def add(payload: list[int]) -> int:
        return sum(payload)

    @task("child")
    def child(payload: int) -> int:
        return payload

    def note(text: str) -> str:
        with open("notes", "a") as file:
            file.write(text + "\\n")
        return text

    @task("parent")
    def parent(ctx: Context) -> list[int]:
        try:
            first = step_sync("note", note, "step")
            results = [child.trigger_and_wait_sync(number).unwrap() for number in (1, 2)]
            return [*results, len(first)]
        finally:
            note("finally")

    @task("sleeps")
    async def sleeps() -> str:
        try:
            await step("note", note, "step")
            await wait.for_(days=1)
            return "woke"
        finally:
            note("finally")

    @task("steps")
    async def steps() -> None:
        while True:
            await step("note", note, "begun")
            await asyncio.sleep(0.02)
            await step("note", note, "ended")

    @task("hidden")
    def hidden():
        async def inside() -> None: ...
        return inside()

    @task("exits")
    def exits() -> None:
        sys.exit(4)

    @task("waits")
    def waits() -> str:
        wait.for_sync(days=1)
        return "woke"

    @task("sleeps-sync")
    def sleeps_sync() -> None:
        try:
            note("begun")
            time.sleep(600)
        finally:
            step_sync("note", note, "finally")

    @task("spawns")
    async def spawns() -> None:
        process = subprocess.Popen(["sleep", "60"])
        note(str(process.pid))
        await asyncio.sleep(60)

    @task("blocks")
    async def blocks() -> None:
        time.sleep(60)

    @task("mixed")
    def mixed() -> int:
        async def both() -> int:
            return sum(await asyncio.gather(step("a", int, 1), step("b", int, 2)))
        return asyncio.run(both())
"""


@pytest.fixture
async def boot(tmp_path: Path) -> AsyncIterator[Boot]:
    async with booting(tmp_path, {"jobs.py": TASKS}) as start:
        yield start


async def test_an_async_task_runs_in_a_shared_executor(boot: Boot) -> None:
    server = boot("shared")
    server.claim("add", payload="[1, 2, 3]")
    assert await server.end() == 6


async def test_a_payload_that_does_not_fit_is_told_without_its_content(boot: Boot) -> None:
    server = boot("shared")
    server.claim("add", payload='["secret"]')
    failed = await server.end()
    assert (failed.error.kind, failed.retry_in) == ("payload", None)
    assert "secret" not in failed.error.message + failed.error.stack


async def test_a_def_task_waits_in_its_process(boot: Boot, tmp_path: Path) -> None:
    server = boot("dedicated")
    server.claim("parent")
    for number in (1, 2):
        (key,) = await server.suspended()
        assert key == f"child:child#{number - 1}"
        server.finish(key, number)
    assert await server.end() == [1, 2, 4]
    assert (tmp_path / "notes").read_text().split() == ["step", "finally"]


@pytest.mark.parametrize("then", ["", "\n    raise OSError('gone')"])
async def test_a_def_task_inherits_no_old_connection_of_django(
    boot: Boot, tmp_path: Path, then: str
) -> None:
    """The process takes its next run with fresh ones; one that cannot be closed costs no run."""
    (tmp_path / "django").mkdir()
    modules = {
        "__init__": "from django import conf, db\n",
        "conf": "class settings:\n    configured = True\n",
        "db": f"def close_old_connections():\n    open('notes', 'a').write('closed '){then}\n",
    }
    for name, source in modules.items():
        (tmp_path / "django" / f"{name}.py").write_text(source)
    (tmp_path / "trigger" / "site.py").write_text("import django\n")
    server = boot("dedicated")

    server.claim("child", payload="1")

    assert await server.end() == 1
    assert (tmp_path / "notes").read_text().split() == ["closed", "closed"]


async def test_a_def_task_goes_cold_without_unwinding(boot: Boot, tmp_path: Path) -> None:
    server = boot("dedicated", sync_warm_wait=0.05)
    server.claim("parent")
    for number in (1, 2):
        (key,) = await server.suspended()
        left = remote(server)
        await until(functools.partial(_has_left, left))
        assert left.code == 0
        server.parked.pop("run_1")
        server.finish_cold(key, number)
        boot("dedicated", server, sync_warm_wait=0.05)
        server.claim("parent", resume="cold")
    assert await server.end() == [1, 2, 4]
    assert (tmp_path / "notes").read_text().split() == ["step", "finally"]


async def test_replay_always_leaves_at_every_wait(boot: Boot) -> None:
    server = boot("dedicated", replay_always=True)
    server.claim("waits")
    await server.suspended()
    await until(lambda: remote(server).code is not None)
    assert remote(server).code == 0


async def test_replay_always_also_retires_an_executor_that_many_runs_share(
    boot: Boot, tmp_path: Path
) -> None:
    """The supervisor answers its goodbye with one; what waited goes on in another process."""
    server = boot("shared", replay_always=True)
    server.claim("sleeps")
    (key,) = await server.suspended()
    await server.until(lambda: Kind.GOODBYE in server.kinds())
    server.executor.receive([frame(Kind.GOODBYE, Goodbye("retired"))])
    await until(functools.partial(_has_left, remote(server)))
    server.parked.pop("run_1")
    server.finish_cold(key, None)
    boot("shared", server, replay_always=True)
    server.claim("sleeps", resume="cold")
    assert await server.end() == "woke"
    assert (tmp_path / "notes").read_text().split() == ["step", "finally"]


async def test_an_async_task_goes_cold_in_a_dedicated_executor(boot: Boot, tmp_path: Path) -> None:
    server = boot("dedicated", replay_always=True)
    server.claim("sleeps")
    (key,) = await server.suspended()
    await until(functools.partial(_has_left, remote(server)))
    server.parked.pop("run_1")
    server.finish_cold(key, None)
    boot("dedicated", server, replay_always=True)
    server.claim("sleeps", resume="cold")
    assert await server.end() == "woke"
    assert (tmp_path / "notes").read_text().split() == ["step", "finally"]


async def test_a_def_that_hides_a_coroutine_is_told_so(boot: Boot) -> None:
    server = boot("dedicated")
    server.claim("hidden")
    failed = await server.end()
    assert "decorator" in failed.error.message
    assert failed.error.type == "UsageError"


async def test_sys_exit_of_a_def_fails_its_run_and_the_process_goes_on(boot: Boot) -> None:
    server = boot("dedicated")
    server.claim("exits", "run_1")
    assert (await server.end()).error.type == "SystemExit"
    server.claim("mixed", "run_2")
    assert await server.end("run_2") == 3


async def test_a_cancel_wakes_a_def_task_that_waits(boot: Boot) -> None:
    server = boot("dedicated")
    server.claim("waits")
    await server.suspended()
    server.cancel()
    failed = await server.end()
    assert failed.error.kind == "canceled"


async def test_a_cancel_interrupts_a_def_task_in_a_call_that_blocks(
    boot: Boot, tmp_path: Path
) -> None:
    server = boot("dedicated")
    server.claim("sleeps-sync")
    await until((tmp_path / "notes").exists)
    server.cancel()
    failed = await server.end()
    assert (failed.error.kind, failed.error.type) == ("canceled", "RunInterrupted")
    assert (tmp_path / "notes").read_text().split() == ["begun", "finally"]


async def test_an_unknown_task_is_named(boot: Boot) -> None:
    server = boot("shared")
    server.claim("nobody")
    failed = await server.end()
    assert "nobody" in failed.error.message


async def test_an_executor_dies_with_its_supervisor_and_takes_its_group_along(
    boot: Boot, tmp_path: Path
) -> None:
    server = boot("shared")
    server.claim("spawns")
    notes = tmp_path / "notes"
    await until(lambda: notes.exists() and notes.read_text().strip())
    child = int(notes.read_text())
    remote(server).process._socket.shutdown(socket.SHUT_RDWR)
    await until(lambda: remote(server).code is not None, seconds=2)
    await until(lambda: not _is_alive(child), seconds=2)


async def test_a_blocked_loop_is_named(boot: Boot, capfd: pytest.CaptureFixture[str]) -> None:
    server = boot("shared")
    server.claim("blocks")
    seen: list[str] = []

    def named() -> bool:
        seen.append(capfd.readouterr().err)
        return "jobs.py" in "".join(seen)

    await until(named)
    assert "task blocks" in "".join(seen)


async def test_a_goodbye_ends_an_executor_once_its_runs_wait(boot: Boot) -> None:
    server = boot("dedicated")
    server.claim("waits")
    await server.suspended()
    server.executor.receive([frame(Kind.GOODBYE, Goodbye("retired"))])
    await until(lambda: remote(server).code is not None)
    assert remote(server).code == 0


async def test_a_goodbye_lets_a_run_reach_its_next_entry(boot: Boot, tmp_path: Path) -> None:
    server = boot("shared")
    server.claim("steps")
    await server.called("step:note#2")
    server.executor.receive([frame(Kind.GOODBYE, Goodbye("retired"))])
    await until(lambda: remote(server).code is not None)
    assert remote(server).code == 0
    recorded = len(server.entries["run_1"])
    assert len((tmp_path / "notes").read_text().split()) == recorded


def _has_left(left: Remote) -> bool:
    return left.code is not None


def _is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
