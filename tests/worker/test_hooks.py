"""Hooks, middleware and what else happens around the function of a task, in a real executor."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from outlast.protocol.frames import Kind, frame
from outlast.protocol.messages import Cancel, Fail
from outlast.sdk import locals as run_locals
from outlast.sdk import wait
from outlast.sdk.background import wait_until
from outlast.sdk.context import Context
from outlast.sdk.errors import AbortTaskRunError, OutsideRunError, UsageError
from outlast.sdk.hooks import Completion, Hooks, WaitInfo
from outlast.sdk.task import Task
from outlast.sdk.verdicts import Verdict
from polling import until
from stage import Server, child

Script = Callable[[], Awaitable[None]]


class Log(list[str]):
    """What happened, in order."""


@pytest.fixture
def log() -> Log:
    return Log()


def made(function: Callable[..., Any]) -> Task[Any, Any]:
    return Task(function, id="job")


def follow(task: Task[Any, Any], log: Log) -> None:
    """Register a hook of every kind that says its name."""

    @task.middleware
    async def around() -> AsyncIterator[None]:
        log.append("in")
        try:
            yield
        except BaseException as error:
            log.append(f"out with {type(error).__name__}")
            raise
        log.append("out")

    for kind in ("on_start", "on_start_attempt", "on_success", "on_failure", "on_complete"):
        getattr(task, kind)(_says(log, kind))

    @task.on_cancel
    async def canceled(reason: str) -> None:
        log.append(f"on_cancel {reason}")


def _says(log: Log, name: str) -> Callable[[], Awaitable[None]]:
    async def hook() -> None:
        log.append(name)

    return hook


async def test_hooks_of_a_success_come_in_order(log: Log) -> None:
    server = Server()

    async def job(ctx: Context) -> int:
        log.append(f"run {ctx.attempt.number}")
        return 7

    task = made(job)
    follow(task, log)
    server.claim(server.add(task))

    assert await server.end() == 7
    assert log == [
        *("in", "on_start", "on_start_attempt", "run 1", "on_success", "on_complete", "out"),
    ]


async def test_hooks_of_all_tasks_come_before_those_of_the_task(log: Log) -> None:
    server = Server()

    async def job() -> None:
        log.append("run")

    task = made(job)
    for hooks, name in ((server.registry.hooks, "all"), (task.hooks, "own")):

        def around(name: str = name) -> Iterator[None]:
            log.append(f"in {name}")
            yield
            log.append(f"out {name}")

        hooks.add("middleware", around)
        hooks.add("on_success", _says(log, f"success {name}"))
    server.claim(server.add(task))
    await server.end()

    assert log == [
        *("in all", "in own", "run", "success all", "success own", "out own", "out all"),
    ]


async def test_failure_is_told_after_the_last_attempt_only(log: Log) -> None:
    server = Server()

    async def job(ctx: Context) -> None:
        log.append(f"run {ctx.attempt.number}")
        raise ValueError("no")

    task = made(job)
    follow(task, log)
    server.claim(server.add(task), attempts=3)
    await server.end()
    first = log.copy()
    server.retry("job")
    await server.end()
    log.clear()
    server.retry("job")
    failed = await server.end()

    assert first == ["in", "on_start", "on_start_attempt", "run 1", "out with ValueError"]
    assert log == [
        *("in", "on_start_attempt", "run 3", "on_failure", "on_complete", "out with ValueError"),
    ]
    assert failed.retry_in is None


async def test_hooks_take_what_they_name(log: Log) -> None:
    server = Server()
    seen: dict[str, object] = {}

    async def job(payload: int) -> int:
        if payload < 0:
            raise AbortTaskRunError("below zero")
        return payload + 1

    task = made(job)

    @task.on_success
    def succeeded(payload: int, output: int, ctx: Context, task: Task[Any, Any]) -> None:
        seen.update(payload=payload, output=output, run=ctx.run.id, task=task.id)

    @task.on_failure
    async def failed(error: BaseException) -> None:
        seen["error"] = str(error)

    @task.on_complete
    async def completed(result: Completion) -> None:
        log.append(f"ok {result.ok}")

    server.claim(server.add(task), payload="1")
    await server.end()
    server.claim("job", run="run_2", payload="-1")
    await server.end("run_2")

    assert seen == {
        "payload": 1, "output": 2, "run": "run_1", "task": "job", "error": "below zero",
    }  # fmt: skip
    assert log == ["ok True", "ok False"]


async def test_what_acting_hooks_raise_is_logged_and_changes_nothing(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()

    async def job() -> str:
        return "fine"

    task = made(job)

    @task.on_success
    async def broken() -> None:
        raise OSError("mail server away")

    task.on_complete(_says(log, "on_complete"))
    server.claim(server.add(task))

    assert await server.end() == "fine"
    assert log == ["on_complete"]
    assert "on_success hook job." in caplog.text
    assert "mail server away" in caplog.text


async def test_what_a_start_hook_raises_fails_the_attempt(log: Log) -> None:
    server = Server()

    async def job() -> None:
        log.append("run")

    task = made(job)

    @task.on_start_attempt
    async def broken() -> None:
        raise OSError("no disk")

    server.claim(server.add(task))
    failed = await server.end()

    assert isinstance(failed, Fail)
    assert failed.error.message == "no disk"
    assert log == []


@pytest.mark.parametrize("before", [True, False])
async def test_what_middleware_raises_fails_the_run(log: Log, before: bool) -> None:
    server = Server()

    async def job() -> str:
        log.append("run")
        return "fine"

    task = made(job)

    @task.middleware
    async def broken() -> AsyncIterator[None]:
        if before:
            raise OSError("no pool")
        yield
        raise OSError("no pool")

    task.on_failure(_says(log, "on_failure"))
    server.claim(server.add(task), attempts=1)
    failed = await server.end()

    assert isinstance(failed, Fail)
    assert failed.error.type == "OSError"
    assert log == (["on_failure"] if before else ["run", "on_failure"])


async def test_what_works_too_long_is_told_its_hooks_while_it_still_may(log: Log) -> None:
    """After the code has unwound, in the seconds before its process is ended."""
    server = Server()
    started = asyncio.Event()

    async def job() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            log.append("cleaned up")

    task = made(job)

    @task.on_failure
    async def failed(error: BaseException) -> None:
        await asyncio.sleep(0)
        log.append(f"on_failure {type(error).__name__}")

    server.claim(server.add(task))
    await started.wait()
    asked = Cancel("worked too long", 5.0, overtime=True)
    server.executor.receive([frame(Kind.CANCEL, asked, run="run_1", token=1)])
    end = await server.end()

    assert isinstance(end, Fail)
    assert (end.error.kind, end.retry_in) == ("timed_out", None)
    assert log == ["cleaned up", "on_failure MaxDurationExceeded"]


async def test_middleware_cannot_hide_a_failure(log: Log) -> None:
    server = Server()

    async def job() -> None:
        raise ValueError("real")

    task = made(job)

    @task.middleware
    async def swallows() -> AsyncIterator[None]:
        try:
            yield
        except ValueError:
            log.append("swallowed")

    server.claim(server.add(task), attempts=1)
    failed = await server.end()

    assert isinstance(failed, Fail)
    assert failed.error.message == "real"
    assert log == ["swallowed"]


async def test_a_cold_replay_repeats_middleware_and_on_resume_but_no_hook_that_acted(
    log: Log,
) -> None:
    server = Server()

    async def job() -> int:
        log.append("run")
        return int(await child("part"))

    task = made(job)
    follow(task, log)

    @task.on_resume
    async def resumed(wait: WaitInfo) -> None:
        log.append(f"on_resume {wait.kind}")

    server.claim(server.add(task))
    await server.suspended()
    server.finish_cold("child:part#0", 3)
    before = log.copy()
    server.crash()
    await until(lambda: len(log) > len(before))  # dropped, which only unwinds
    log.clear()
    server.claim("job", resume="cold")

    assert await server.end() == 3
    assert before == ["in", "on_start", "on_start_attempt", "run"]
    assert log == ["in", "on_resume None", "run", "on_success", "on_complete", "out"]


async def test_an_end_that_is_recorded_is_not_decided_again(log: Log) -> None:
    """Killed between two hooks, the run calls the rest: not its function, not the first hook."""
    server = Server()

    async def job() -> int:
        log.append("run")
        return 1

    task = made(job)
    reached = asyncio.Event()

    @task.on_success
    async def first(output: int) -> None:
        log.append(f"first {output}")

    @task.on_success
    async def second(output: int) -> None:
        log.append(f"second {output}")
        if not reached.is_set():
            reached.set()
            await asyncio.Event().wait()

    server.claim(server.add(task))
    await reached.wait()
    server.cold("job")

    assert await server.end() == 1
    assert log == ["run", "first 1", "second 1", "second 1"]


async def test_waits_that_give_the_slot_back_are_told(log: Log) -> None:
    server = Server()

    async def job() -> int:
        value = int(await child("part"))
        log.append("between")
        return value + int(await child("part"))

    task = made(job)

    @task.on_wait
    async def waits(wait: WaitInfo) -> None:
        log.append(f"wait {wait.kind} {wait.names}")

    @task.on_resume
    def resumes(wait: WaitInfo) -> None:
        log.append(f"resume {wait.kind} {wait.names}")

    server.claim(server.add(task))
    for number in range(2):
        assert await server.suspended() == (f"child:part#{number}",)
        server.finish(f"child:part#{number}", 2)
        await server.until(lambda: not server.parked)
    assert await server.end() == 4

    told = ["wait child ('part',)", "resume child ('part',)"]
    assert log == [*told, "between", *told]


async def test_a_cancel_unwinds_and_then_calls_its_hooks(log: Log) -> None:
    server = Server()
    began = asyncio.Event()

    async def job(ctx: Context) -> None:
        @ctx.on_cancel
        async def registered() -> None:
            log.append("registered inside")

        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            log.append(f"unwound, {ctx.signal.reason}")

    task = made(job)
    follow(task, log)
    server.claim(server.add(task))
    await began.wait()
    log.clear()
    server.cancel()
    ended = await server.end()

    assert isinstance(ended, Fail)
    assert ended.error.kind == "canceled"
    assert log == [
        "unwound, somebody asked",
        "on_cancel somebody asked",
        "registered inside",
        "out with CancelledError",
    ]


async def test_a_canceled_run_that_did_not_execute_calls_only_its_hooks(log: Log) -> None:
    server = Server()

    async def job() -> None:
        log.append("run")

    task = made(job)
    follow(task, log)
    server.claim(server.add(task), resume="cold", cancel="canceled by request")
    ended = await server.end()

    assert ended.error.kind == "canceled"
    assert log == ["in", "on_cancel canceled by request", "out with CancelledError"]


async def test_a_parked_run_unwinds_where_it_is_parked(log: Log) -> None:
    server = Server()

    async def job() -> None:
        try:
            await child("part")
        finally:
            log.append("unwound")

    task = made(job)

    @task.on_cancel
    async def canceled() -> None:
        log.append("on_cancel")

    server.claim(server.add(task))
    await server.suspended()
    server.claim("job", resume="warm", cancel="canceled by request")
    ended = await server.end()

    assert ended.error.kind == "canceled"
    assert log == ["unwound", "on_cancel"]


async def test_a_parked_run_that_is_dropped_leaves_its_middleware(log: Log) -> None:
    """What it opened is closed, nobody is told."""
    server = Server()

    async def job() -> None:
        await child("part")

    task = made(job)
    follow(task, log)
    server.claim(server.add(task))
    await server.suspended()
    log.clear()
    server.crash()

    await until(lambda: log)
    assert log == ["out with CancelledError"]


async def test_a_task_has_the_last_word_on_a_failure_before_all_tasks(log: Log) -> None:
    server = Server()

    async def job() -> None:
        raise ValueError("no")

    task = made(job)

    @task.catch_error
    async def own(error: BaseException) -> Verdict:
        log.append(f"own {error}")
        return Verdict(skip_retrying=True)

    server.registry.hooks.add("catch_error", _says(log, "all"))
    task.on_failure(_says(log, "on_failure"))
    server.claim(server.add(task))
    failed = await server.end()

    assert failed.retry_in is None
    assert log == ["own no", "on_failure"]


async def test_locals_live_as_long_as_the_run_does_in_its_process(log: Log) -> None:
    server = Server()
    number = run_locals.create(int, "number")

    async def job(payload: int) -> int:
        return number.require()

    task = made(job)

    @task.middleware
    async def sets(payload: int) -> AsyncIterator[None]:
        assert number.get() is None
        number.set(payload)
        yield

    server.add(task)
    server.claim("job", run="run_1", payload="1")
    server.claim("job", run="run_2", payload="2")

    assert (await server.end("run_1"), await server.end("run_2")) == (1, 2)
    assert number.get() is None
    with pytest.raises(UsageError, match="'number' is not set"):
        number.require()


async def test_late_work_keeps_the_run_alive(log: Log) -> None:
    server = Server()
    go = asyncio.Event()

    async def flush() -> None:
        await go.wait()
        log.append("flushed")

    async def job() -> str:
        wait_until(flush())
        return "done"

    task = made(job)
    task.on_complete(_says(log, "on_complete"))
    server.claim(server.add(task))
    await server.until(lambda: log == ["on_complete"])
    assert not server.ended
    go.set()

    assert await server.end() == "done"
    assert log == ["on_complete", "flushed"]


async def test_late_work_has_its_time_once_whatever_it_adds(
    log: Log, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("outlast.worker.hands.KEPT_SECONDS", 0.01)
    server = Server()

    async def endless() -> None:
        wait_until(endless())
        await asyncio.Event().wait()

    async def job() -> str:
        wait_until(endless())
        return "done"

    server.claim(server.add(made(job)))

    assert await server.end() == "done"
    assert "goes on after 0 s; it is canceled" in caplog.text


async def test_on_failure_is_not_told_of_a_crash(log: Log) -> None:
    server = Server()

    async def job() -> None:
        raise ValueError("no")

    task = made(job)
    follow(task, log)

    @task.catch_error
    def broken() -> None:
        raise KeyError("oops")

    server.claim(server.add(task))
    failed = await server.end()

    assert failed.error.kind == "crashed"
    assert log == ["in", "on_start", "on_start_attempt", "out with ValueError"]


async def test_code_that_is_handed_nothing_asks_for_its_context() -> None:
    server = Server()

    def deep_inside() -> str:
        return Context.current().run.id

    async def job() -> list[str]:
        return [deep_inside(), await asyncio.to_thread(deep_inside)]

    server.add(made(job))
    for run in ("run_1", "run_2"):
        server.claim("job", run=run)

    assert await server.end("run_1") == ["run_1", "run_1"]
    assert await server.end("run_2") == ["run_2", "run_2"]
    with pytest.raises(OutsideRunError, match=r"Context\.current\(\)"):
        deep_inside()


async def test_a_hook_may_trigger_but_not_wait(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()

    async def job() -> None: ...

    task = made(job)

    @task.on_success
    async def triggers() -> None:
        await wait.for_(seconds=60)

    server.claim(server.add(task))
    await server.end()

    assert server.calls == {}
    assert "WaitInStepError" in caplog.text
    assert "a wait (for) inside the on_success hook of run run_1" in caplog.text


def test_a_hook_that_nobody_can_call_is_refused_where_it_stands() -> None:
    hooks = Hooks("job")

    with pytest.raises(UsageError, match=r"on_failure hook of job takes 'err'.* error, payload"):
        hooks.add("on_failure", lambda err: None)
    with pytest.raises(UsageError, match="must yield once"):
        hooks.add("middleware", _says(Log(), "x"))
    with pytest.raises(UsageError, match="is a generator"):
        hooks.add("on_start", _generator)


def test_hooks_of_one_name_are_told_apart() -> None:
    hooks = Hooks("job")
    labels = [hooks.add("on_start", _says(Log(), "x"), "mail").label for _ in range(3)]

    assert labels == ["job.mail", "job.mail #2", "job.mail #3"]


def _generator() -> Iterator[None]:
    yield
