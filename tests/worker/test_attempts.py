"""What a failed attempt becomes: the policy's answer, verdicts, memory, time, and what is told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from subprocess import CalledProcessError
from typing import Any

import pytest

from outlast.client.errors import ApiError, BadRequestError, RateLimitError
from outlast.protocol.frames import Kind, frame
from outlast.protocol.manifests import RetryPolicy
from outlast.protocol.messages import Cancel, Fail, Step
from outlast.protocol.outcomes import Outcome
from outlast.sdk import retrying as retry
from outlast.sdk.errors import (
    AbortTaskRunError,
    CompleteTaskWithOutput,
    MaxDurationExceeded,
    OutOfMemoryError,
    StepError,
)
from outlast.sdk.retry import Retry
from outlast.sdk.verdicts import Verdict
from outlast.worker.sending import Sending
from stage import Server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    loop = asyncio.get_running_loop()
    server = Server()
    yield server
    server.crash()
    loop.set_task_factory(None)


def raising(error: BaseException) -> Callable[[Any], Any]:
    async def job(ctx: Any) -> None:
        raise error

    return job


async def failure(server: Server, error: BaseException, **options: Any) -> Fail:
    server.claim(server.task(raising(error)), **options)
    failed = await server.end()
    assert isinstance(failed, Fail)
    return failed


# Errors


async def test_the_line_of_the_users_code_is_told(server: Server) -> None:
    failed = await failure(server, ValueError("no"))

    assert failed.error.line.endswith("in job")
    assert "test_attempts.py:" in failed.error.line


async def test_an_error_in_a_library_is_told_with_the_line_that_called_it(server: Server) -> None:
    async def job(ctx: Any) -> None:
        datetime.fromisoformat("never")
        await asyncio.wait_for(asyncio.sleep(0), "soon")  # type: ignore[arg-type]

    server.claim(server.task(job))

    assert "test_attempts.py:" in (await server.end()).error.line


async def test_causes_and_members_of_a_group_are_told(server: Server) -> None:
    member = ValueError("second")
    member.__cause__ = KeyError("first")
    group = ExceptionGroup("several", [member, OSError("third")])

    failed = await failure(server, group)

    assert failed.error.causes == ("ValueError: second", "KeyError: 'first'", "OSError: third")


async def test_a_deep_stack_keeps_its_first_and_last_frames(server: Server) -> None:
    def dig(depth: int) -> None:
        if depth == 0:
            raise ValueError("x" * 5_000)
        deeper(depth - 1)

    def deeper(depth: int) -> None:  # in turns: what repeats itself is told once
        dig(depth)

    async def job(ctx: Any) -> None:
        dig(50)

    server.claim(server.task(job))
    error = (await server.end()).error

    assert len(error.message) == 1_000
    assert error.stack.count("File ") == 50
    assert "in job" in error.stack.partition("more frames")[0]


# Verdicts


async def judged(server: Server, said: Any, error: BaseException | None = None) -> Fail:
    task = server.task(raising(error or ValueError("no")))
    server.registry.tasks[task].hooks.add("catch_error", said)
    server.claim(task)
    failed = await server.end()
    assert isinstance(failed, Fail)
    return failed


async def test_a_verdict_may_end_the_run(server: Server) -> None:
    failed = await judged(server, lambda error: Verdict(skip_retrying=True))

    assert (failed.error.message, failed.retry_in) == ("no", None)


async def test_a_verdict_may_say_when(server: Server) -> None:
    assert (await judged(server, lambda: Verdict(retry_in="90s"))).retry_in == 90


async def test_a_verdict_may_say_a_moment(server: Server) -> None:
    at = datetime.now(UTC) + timedelta(hours=1)

    failed = await judged(server, lambda: Verdict(retry_at=at))

    assert failed.retry_in == pytest.approx(3_600, abs=30)


async def test_a_verdict_may_bring_a_policy(server: Server) -> None:
    policy = Retry(min_timeout=7, randomize=False)

    assert (await judged(server, lambda: Verdict(retry=policy))).retry_in == 7


async def test_another_error_alone_is_the_last_one(server: Server) -> None:
    failed = await judged(server, lambda: Verdict(error=RuntimeError("what it means")))

    assert (failed.error.type, failed.retry_in) == ("RuntimeError", None)


async def test_a_verdict_that_says_nothing_leaves_the_policy(server: Server) -> None:
    said: list[Any] = []

    async def nothing(error: BaseException, retry_in: float, retry: Retry) -> None:
        said.extend((error, retry_in, retry.max_attempts))

    failed = await judged(server, nothing)

    assert failed.retry_in == 0.01
    assert (str(said[0]), *said[1:]) == ("no", 0.01, 3)


async def test_the_task_is_asked_before_all_tasks_and_the_first_verdict_wins(
    server: Server,
) -> None:
    asked: list[str] = []

    def own() -> Verdict:
        asked.append("own")
        return Verdict(retry_in=2)

    def everywhere() -> Verdict:
        asked.append("everywhere")
        return Verdict(skip_retrying=True)

    server.registry.hooks.add("catch_error", everywhere)

    assert (await judged(server, own)).retry_in == 2
    assert asked == ["own"]


async def test_a_hook_that_raises_crashes_the_run(server: Server) -> None:
    def broken() -> None:
        raise KeyError("oops")

    failed = await judged(server, broken)

    assert (failed.error.kind, failed.error.type, failed.retry_in) == ("crashed", "KeyError", None)
    assert "ValueError: no" in failed.error.causes[-1]


async def test_a_verdict_of_another_type_crashes_the_run(server: Server) -> None:
    failed = await judged(server, lambda: "later")

    assert failed.error.kind == "crashed"
    assert "return a Verdict" in failed.error.message


@pytest.mark.parametrize(
    "error", [AbortTaskRunError("no"), BadRequestError("no", status=400)], ids=["abort", "4xx"]
)
async def test_nobody_is_asked_about_what_is_final(server: Server, error: Exception) -> None:
    asked: list[object] = []

    failed = await judged(server, lambda: asked.append(1), error)

    assert (failed.retry_in, asked) == (None, [])


async def test_no_verdict_goes_past_the_last_attempt(server: Server) -> None:
    task = server.task(raising(ValueError("no")))
    server.registry.tasks[task].hooks.add("catch_error", lambda: Verdict(retry_in=1))
    server.claim(task, attempts=1)

    assert (await server.end()).retry_in is None


@pytest.mark.parametrize(
    ("status", "again"), [(400, None), (404, None), (422, None), (408, 0.01), (500, 0.01)]
)
async def test_what_a_server_refuses_for_good_is_not_asked_again(
    server: Server, status: int, again: float | None
) -> None:
    assert (await failure(server, ApiError("no", status=status))).retry_in == again


async def test_a_rate_limit_is_tried_again_when_it_is_lifted(server: Server) -> None:
    error = RateLimitError("slow", status=429, headers={"retry-after": "42"})

    assert (await failure(server, error)).retry_in == 42


# Ends by exception


@pytest.mark.parametrize("grouped", [False, True])
async def test_an_output_may_be_thrown(server: Server, grouped: bool) -> None:
    async def deep() -> None:
        raise CompleteTaskWithOutput({"found": 1})

    async def job(ctx: Any) -> None:
        if not grouped:
            await deep()
        async with asyncio.TaskGroup() as group:
            group.create_task(deep())

    server.claim(server.task(job))

    assert await server.end() == {"found": 1}


@pytest.mark.parametrize("error", [OutOfMemoryError("too big"), MemoryError()])
async def test_a_lack_of_memory_is_cured_by_another_machine_only(
    server: Server, error: BaseException
) -> None:
    assert (await failure(server, error)).retry_in is None

    policy = RetryPolicy(min_timeout=0.01, randomize=False, out_of_memory="large-1x")
    server.claim(server.task(raising(error)), "run_2", policy=policy)
    failed = await server.end("run_2")

    assert failed.error.kind == "out_of_memory"
    assert (failed.retry_in, failed.machine) == (0.01, "large-1x")


@pytest.mark.parametrize(
    ("code", "kind"), [(-9, "out_of_memory"), (137, "out_of_memory"), (1, "raised")]
)
async def test_a_program_ended_by_a_kill_lacked_memory_where_there_is_a_larger_machine(
    server: Server, code: int, kind: str
) -> None:
    error = CalledProcessError(code, ["ffmpeg"])
    plain = await failure(server, error)
    assert (plain.error.kind, plain.retry_in) == ("raised", 0.01)

    policy = RetryPolicy(min_timeout=0.01, randomize=False, out_of_memory="large-1x")
    server.claim(server.task(raising(error)), "run_2", policy=policy)
    failed = await server.end("run_2")

    assert (failed.error.kind, failed.error.type) == (kind, "CalledProcessError")
    assert failed.machine == ("large-1x" if kind == "out_of_memory" else None)


def overtime(run: str = "run_1", token: int = 1) -> Any:
    return frame(Kind.CANCEL, Cancel("worked too long", 5.0, overtime=True), run=run, token=token)


async def test_what_works_too_long_unwinds_and_fails_of_that(server: Server) -> None:
    seen: list[str] = []
    started = asyncio.Event()

    async def job(ctx: Any) -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        except MaxDurationExceeded:
            seen.append("told")
            raise
        finally:
            async with asyncio.timeout(5):  # cleaning up may wait, and is not canceled again
                await asyncio.sleep(0)
            seen.append("cleaned up")

    server.claim(server.task(job))
    await started.wait()
    server.executor.receive([overtime()])
    failed = await server.end()

    assert seen == ["told", "cleaned up"]
    assert (failed.error.kind, failed.error.type) == ("timed_out", "MaxDurationExceeded")
    assert failed.retry_in is None
    assert failed.error.line.endswith("in job")


async def test_a_task_group_that_works_too_long_is_timed_out(server: Server) -> None:
    started = asyncio.Event()
    seen: list[str] = []

    async def member() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            seen.append("member")

    async def job(ctx: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(member())
            await asyncio.Event().wait()

    server.claim(server.task(job))
    await started.wait()
    server.executor.receive([overtime()])

    assert (await server.end()).error.kind == "timed_out"
    assert seen == ["member"]


async def test_an_error_of_the_clean_up_does_not_hide_that_it_took_too_long(
    server: Server,
) -> None:
    started = asyncio.Event()

    async def job(ctx: Any) -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            raise OSError("cannot clean up")

    server.claim(server.task(job))
    await started.wait()
    server.executor.receive([overtime()])

    assert (await server.end()).error.kind == "timed_out"


async def test_words_that_no_frame_carries_fail_the_run() -> None:
    """Said in a callback of the loop, an error would leave the run waiting for ever."""
    sent: list[Any] = []
    broken: list[bool] = []
    sending = Sending("run_1", 1, sent.append, lambda: broken.append(True))
    sending.put(Kind.STEP, Step("k", "step", "\ud800", 1, Outcome(True, "1")))
    sending.put(Kind.STEP, Step("k2", "step", "fine", 2, Outcome(True, "1")))

    sending.flush()

    assert [each.kind for each in sent] == [Kind.FAIL]
    assert broken == [True]


# Blocks


async def test_a_block_is_tried_again_after_a_durable_wait(server: Server) -> None:
    tries: list[int] = []

    def flaky() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("busy")
        return "done"

    async def job(ctx: Any) -> str:
        policy = Retry(max_attempts=4, min_timeout=1, randomize=False)
        return await retry.on_throw(flaky, policy)

    task = server.task(job)
    server.claim(task)
    await server.suspended()
    server.cold(task)  # the process that waited is gone
    server.finish("wait:for#0")
    await server.called("wait:for#1")
    await server.suspended()
    server.finish("wait:for#1")

    assert await server.end() == "done"
    assert len(tries) == 3


async def test_a_block_that_never_succeeds_raises_its_last_error(server: Server) -> None:
    async def job(ctx: Any) -> str:
        @retry.block(Retry(max_attempts=2, min_timeout=1), name="call the bank")
        async def call(bank: str) -> str:
            raise OSError(bank)

        try:
            return await call("closed")
        except StepError as error:
            return f"{error.step}: {error.message}"

    server.claim(server.task(job))
    await server.suspended()
    server.finish("wait:for#0")

    assert await server.end() == "call the bank: closed"


async def test_a_block_gives_up_on_what_the_policy_names(server: Server) -> None:
    async def job(ctx: Any) -> str:
        async def call() -> None:
            raise KeyError("no such account")

        try:
            await retry.on_throw(call, Retry(give_up_on=(KeyError,)))
        except StepError as error:
            return error.type
        return "?"

    server.claim(server.task(job))

    assert await server.end() == "KeyError"
