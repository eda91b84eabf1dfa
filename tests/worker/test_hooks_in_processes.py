"""Hooks in executor processes: of `def` tasks, before the first run, and after a kill."""

import functools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outlast.protocol.manifests import ExecutorKind
from polling import until
from remotes import Boot, booting, remote
from stage import Server

INIT = """
    from outlast import tasks

    def note(text: str) -> None:
        with open("notes", "a") as file:
            file.write(text + "\\n")

    note("imported")

    @tasks.on_worker_boot
    async def boots() -> None:
        note("booted")

    @tasks.middleware
    async def everywhere(task, payload):
        note(f"in {task.id} {payload}")
        yield
        note("out")

    @tasks.on_start
    async def starts() -> None:
        note("on_start")
"""

TASKS = """
    import asyncio, os, time
    from outlast import Context, step_sync, task, wait, wait_until
    from trigger.init import note

    @task("plain")
    def plain(payload: int, ctx: Context) -> int:
        note(f"run {payload}")
        return payload + 1

    @plain.middleware
    def around():
        note("in own")
        yield
        note("out own")

    @plain.on_success
    def first(output: int) -> None:
        note(f"first {output}")

    @plain.on_success
    async def second() -> None:
        note("second")
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)

    @task("waits")
    def waits() -> str:
        wait.for_sync(days=1)
        note("woke")
        return "woke"

    @waits.on_wait
    def before(wait) -> None:
        note(f"wait {wait.kind}")

    @waits.on_resume
    async def after(wait) -> None:
        note(f"resume {wait.kind}")

    @task("loops")
    def loops(ctx: Context) -> None:
        @ctx.on_cancel
        def registered() -> None:
            note("registered")
        note("looping")
        try:
            while True:
                ctx.raise_if_cancelled()
                time.sleep(0.01)
        finally:
            note("unwound")

    @loops.on_cancel
    async def canceled(reason: str) -> None:
        note(f"on_cancel {reason}")

    @task("late")
    def late() -> None:
        async def flush() -> None:
            note("flushed")
        wait_until(flush())
        note("returned")

    @late.on_complete
    def told(result) -> None:
        note(f"ok {result.ok}")

    @task("shared")
    async def shared() -> int:
        note("run")
        return 1

    @shared.on_success
    def sync_first() -> None:
        note("first")

    @shared.on_success
    async def async_second() -> None:
        note("second")
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)
"""


@pytest.fixture
async def boot(tmp_path: Path) -> AsyncIterator[Boot]:
    async with booting(tmp_path, {"init.py": INIT, "jobs.py": TASKS}) as start:
        yield start


@pytest.fixture
def notes(tmp_path: Path) -> "Notes":
    return Notes(tmp_path / "notes")


class Notes:
    """What the project's code has written down, since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = 0

    def all(self) -> list[str]:
        return self._path.read_text().splitlines() if self._path.exists() else []

    def new(self) -> list[str]:
        found = self.all()[self._seen :]
        self._seen += len(found)
        return found

    async def reach(self, line: str) -> None:
        await until(lambda: line in self.all()[self._seen :], what=line)


async def test_a_def_task_has_hooks_of_both_kinds(boot: Boot, notes: Notes, tmp_path: Path) -> None:
    """Coroutines run on a loop of their own there; the process is imported and booted once."""
    (tmp_path / "go").touch()
    server = boot("dedicated")
    for run in ("run_1", "run_2"):
        server.claim("plain", run, payload="1")
        assert await server.end(run) == 2

    each = ["in plain 1", "in own", "on_start", "run 1", "first 2", "second", "out own", "out"]
    assert notes.all() == ["imported", "booted", *each, *each]


@pytest.mark.parametrize(("kind", "task"), [("dedicated", "plain"), ("shared", "shared")])
async def test_a_kill_between_two_hooks_repeats_neither_the_function_nor_the_first(
    boot: Boot, notes: Notes, tmp_path: Path, kind: ExecutorKind, task: str
) -> None:
    server = boot(kind)
    server.claim(task, payload="1")
    await notes.reach("second")
    await killed(server)
    before = notes.new()
    (tmp_path / "go").touch()
    boot(kind, server)
    server.claim(task, resume="cold", payload="1")

    assert await server.end() == (2 if task == "plain" else 1)
    after = notes.new()
    assert [line for line in before if line.startswith(("run", "first", "second", "on_start"))] == [
        "on_start",
        "run 1" if task == "plain" else "run",
        "first 2" if task == "plain" else "first",
        "second",
    ]
    assert [line for line in after if line.startswith(("run", "first", "second", "on_start"))] == [
        "second"
    ]


async def test_a_def_task_is_told_of_its_waits(boot: Boot, notes: Notes) -> None:
    server = boot("dedicated")
    server.claim("waits")
    (key,) = await server.suspended()
    server.finish(key)

    assert await server.end() == "woke"
    assert [line for line in notes.all() if line.startswith(("w", "resume"))] == [
        *("wait wait", "resume wait", "woke"),
    ]


async def test_a_canceled_def_task_unwinds_and_calls_its_hooks(boot: Boot, notes: Notes) -> None:
    server = boot("dedicated")
    server.claim("loops")
    await notes.reach("looping")
    notes.new()
    server.cancel()
    ended = await server.end()

    assert ended.error.kind == "canceled"
    assert notes.new() == ["unwound", "on_cancel somebody asked", "registered"]


async def test_a_def_task_that_did_not_execute_calls_only_its_cancel_hooks(
    boot: Boot, notes: Notes
) -> None:
    server = boot("dedicated")
    server.claim("loops", resume="cold", cancel="canceled by request")
    ended = await server.end()

    assert ended.error.kind == "canceled"
    assert notes.new()[2:] == ["in loops None", "on_cancel canceled by request"]


async def test_late_work_of_a_def_task_is_done_after_its_hooks(boot: Boot, notes: Notes) -> None:
    server = boot("dedicated")
    server.claim("late")
    await server.end()

    assert notes.new()[-4:] == ["returned", "ok True", "flushed", "out"]


async def killed(server: Server) -> None:
    left = remote(server)
    left.process.kill()
    await until(functools.partial(lambda each: each.code is not None, left))
