"""`def` tasks in threads of a shared executor: many at once, each in a context of its own."""

import functools
import logging
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from outlast import wait
from outlast.protocol.frames import Frame, Kind, frame
from outlast.protocol.messages import Cancel, Drop, Goodbye, LogLine
from outlast.worker import executor as executors
from outlast.worker import sync_run
from outlast.worker.computing import Computing, Use
from outlast.worker.function_threads import FunctionThread
from outlast.worker.sync_run import SyncRun
from polling import until
from remotes import Boot, Remote, booting, remote
from stage import Server, StubTask

TASKS = """
    import asyncio, contextvars, logging, os, sys, threading, time
    from outlast import Context, logger, metadata, step_sync, task, wait

    mine = contextvars.ContextVar("mine", default="nobody")
    met = threading.Barrier(3)

    def note(text: str) -> str:
        with open("notes", "a") as file:
            file.write(text + "\\n")
        return text

    @task("meets", threads=True)
    def meets(payload: str, ctx: Context) -> list[str]:
        before = mine.get()
        mine.set(payload)
        metadata.set("who", payload)
        met.wait(20)  # three runs stand here at the same time
        print("printed by", payload)
        logger.info(f"logged by {payload}")
        logging.getLogger("lib").warning("warned by %s", payload)
        met.wait(20)
        return [before, mine.get(), ctx.run.id, str(metadata.current()["who"]), str(os.getpid())]

    @task("child", threads=True)
    def child(payload: int) -> int:
        return payload

    @task("parent", threads=True)
    def parent() -> list[int]:
        try:
            first = step_sync("note", note, "step")
            results = [child.trigger_and_wait_sync(number).unwrap() for number in (1, 2)]
            return [*results, len(first)]
        finally:
            note("finally")

    @task("loops", threads=True)
    def loops() -> None:
        try:
            note("begun")
            while True:
                time.sleep(0.001)
        except BaseException as error:
            note(f"{type(error).__name__}: {error}")
            raise
        finally:
            step_sync("note", note, "finally")

    @task("waits", threads=True)
    def waits() -> str:
        try:
            wait.for_sync(days=1)
        except BaseException as error:
            note(type(error).__name__)
            raise
        return "woke"

    @task("computes", threads=True)
    def computes() -> None:
        note("begun")
        while not os.path.exists("enough"):
            sum(range(1000))

    @task("exits", threads=True)
    def exits() -> None:
        sys.exit(4)
"""


@pytest.fixture
async def boot(tmp_path: Path) -> AsyncIterator[Boot]:
    async with booting(tmp_path, {"jobs.py": TASKS}) as start:
        yield start


async def test_several_run_at_once_each_with_its_own_context(boot: Boot) -> None:
    server = boot("shared")
    names = {f"run_{name}": name for name in "abc"}
    for run, name in names.items():
        server.claim("meets", run, payload=f'"{name}"')

    answers = {run: await server.end(run) for run in names}

    assert {run: answer[:4] for run, answer in answers.items()} == {
        run: ["nobody", name, run, name] for run, name in names.items()
    }
    assert len({answer[4] for answer in answers.values()}) == 1  # all in one process


async def test_a_line_belongs_to_the_run_whose_thread_said_it(boot: Boot) -> None:
    server = boot("shared")
    said: dict[str, set[str]] = {}
    _listen(remote(server), said)
    for name in "abc":
        server.claim("meets", f"run_{name}", payload=f'"{name}"')
    for name in "abc":
        await server.end(f"run_{name}")

    for name in "abc":
        assert said[f"run_{name}"] == {
            f"printed by {name}",
            f"logged by {name}",
            f"warned by {name}",
        }


async def test_steps_and_children_wait_durably_and_the_thread_stays_in_no_way(
    boot: Boot, tmp_path: Path
) -> None:
    server = boot("shared")
    server.claim("parent")
    for number in (1, 2):
        (key,) = await server.suspended()
        assert key == f"child:child#{number - 1}"
        server.claim("child", f"other_{number}", payload="7")  # while it waits
        assert await server.end(f"other_{number}") == 7
        server.finish(key, number)
    assert await server.end() == [1, 2, 4]
    assert (tmp_path / "notes").read_text().split() == ["step", "finally"]


async def test_a_waiting_thread_goes_cold_with_its_executor_and_replays_in_another(
    boot: Boot, tmp_path: Path
) -> None:
    server = boot("shared")
    server.claim("parent")
    for number in (1, 2):
        (key,) = await server.suspended()
        left = remote(server)
        server.executor.receive([frame(Kind.GOODBYE, Goodbye("retired"))])
        await until(functools.partial(_has_left, left))
        server.parked.pop("run_1")
        server.finish_cold(key, number)
        boot("shared", server)
        server.claim("parent", resume="cold")
    assert await server.end() == [1, 2, 4]
    assert (tmp_path / "notes").read_text().split() == ["step", "finally"]


async def test_a_cancel_wakes_a_thread_that_waits(boot: Boot, tmp_path: Path) -> None:
    server = boot("shared")
    server.claim("waits")
    await server.suspended()
    server.cancel()
    assert (await server.end()).error.kind == "canceled"
    assert (tmp_path / "notes").read_text() == "RunInterrupted\n"


async def test_a_cancel_reaches_a_thread_that_makes_no_call(boot: Boot, tmp_path: Path) -> None:
    server = boot("shared")
    server.claim("loops")
    await until((tmp_path / "notes").exists)
    server.cancel()
    assert (await server.end()).error.kind == "canceled"
    assert _notes(tmp_path) == [
        "begun",
        "RunInterrupted: run run_1 was canceled: somebody asked",
        "finally",
    ]


async def test_a_run_that_works_too_long_cleans_up_and_costs_no_neighbour(
    boot: Boot, tmp_path: Path
) -> None:
    server = boot("shared")
    server.claim("waits", "other")
    await server.suspended("other")
    server.claim("loops")
    await until((tmp_path / "notes").exists)
    late = Cancel("worked longer than its max_duration", 5.0, overtime=True)
    server.executor.receive([frame(Kind.CANCEL, late, run="run_1", token=1)])

    failed = await server.end()

    assert (failed.error.kind, failed.error.type) == ("timed_out", "MaxDurationExceeded")
    assert "in loops" in failed.error.line
    text = "MaxDurationExceeded: run run_1 worked longer than its max_duration"
    assert _notes(tmp_path) == ["begun", text, "finally"]
    server.claim("child", "next", payload="3")
    assert await server.end("next") == 3
    (key,) = server.parked["other"]
    server.finish(key, None, "other")
    assert await server.end("other") == "woke"


async def test_sys_exit_in_a_thread_fails_its_run_and_no_other(boot: Boot) -> None:
    server = boot("shared")
    server.claim("exits")
    assert (await server.end()).error.type == "SystemExit"
    server.claim("child", "next", payload="3")
    assert await server.end("next") == 3


async def test_a_thread_that_computes_is_named_in_the_log_of_its_run(
    boot: Boot, tmp_path: Path
) -> None:
    server = boot("shared")
    server.claim("computes")

    def named() -> list[str]:
        lines = [body.message for kind, body in server.frames if kind is Kind.LINE]
        return [each for each in lines if "computes" in each]

    await until(named, seconds=60)
    (tmp_path / "enough").touch()
    assert await server.end() is None
    (line,) = named()
    assert "threads=True" in line
    assert "jobs.py:" in line


def test_two_threads_that_compute_are_named_once_and_one_that_waits_never() -> None:
    uses = {1: Use(0.0, 0.0), 2: Use(0.0, 0.0), 3: Use(0.0, 0.0)}
    runs = {f"run_{number}": Computer(number) for number in uses}
    now = [0.0]
    computing = Computing(lambda: runs, use_of=uses.get, now=lambda: now[0])
    for second in range(10):
        computing.look()
        now[0] += 1
        uses[1] = Use(0.5 * (second + 1), 0.0)  # the other half belongs to the second
        uses[2] = Use(0.3 * (second + 1), 0.2 * (second + 1))  # the machine is busy besides
        uses[3] = Use(0.3 * (second + 1), 0.0)
    computing.look()

    assert [len(run.lines) for run in runs.values()] == [1, 1, 0]


class Computer(SyncRun):
    """Nothing but what is looked at."""

    def __init__(self, number: int) -> None:
        self.id = f"run_{number}"
        self.task = StubTask("computes", print)  # type: ignore[assignment]
        self.function_thread = FunctionThread()
        self.function_thread.number = number
        self.lines: list[str] = []
        self.reports = self  # type: ignore[assignment]

    def say(self, _: str, message: str) -> None:  # type: ignore[override]
        self.lines.append(message)


async def test_too_many_waiting_threads_replace_their_executor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(executors, "PARKED_THREADS", 2)
    server = Server()

    def patient(_: object) -> None:
        wait.for_sync(days=1)

    server.task(patient)
    for number in range(3):
        assert Kind.GOODBYE not in server.kinds()
        server.claim("patient", f"run_{number}")
        await server.suspended(f"run_{number}")
    await server.until(lambda: Kind.GOODBYE in server.kinds())

    server.executor.receive([frame(Kind.GOODBYE, Goodbye("retired"))])
    await until(lambda: server.left)


async def test_a_thread_that_ends_for_nobody_costs_its_executor_and_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(sync_run, "LEFT_SECONDS", 0.01)
    server = Server()
    begun, may_end = threading.Event(), threading.Event()

    def deaf(_: object) -> None:
        begun.set()
        may_end.wait(20)

    server.task(deaf)
    server.claim("deaf")
    await until(begun.is_set)
    server.executor.receive([frame(Kind.DROP, Drop(), run="run_1", token=1)])
    await server.until(lambda: Kind.GOODBYE in server.kinds())
    may_end.set()

    assert "run run_1 of task deaf" in caplog.text
    assert "test_thread_runs.py" in caplog.text


def _listen(executor: Remote, said: dict[str, set[str]]) -> None:
    then = executor.process._on_frames

    def hear(frames: list[Frame]) -> None:
        for each in frames:
            if each.kind == Kind.LINE:
                line = msgspec.msgpack.decode(each.body, type=LogLine)
                said.setdefault(each.run, set()).add(line.message)
        then(frames)

    executor.process._on_frames = hear


def _has_left(executor: Remote) -> bool:
    return executor.code is not None


def _notes(root: Path) -> list[str]:
    return (root / "notes").read_text().splitlines()
