"""How runs live and end in an executor: failures, retries, cancels, neighbours, reports."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from outlast.protocol.frames import Kind, frame
from outlast.protocol.messages import Empty, MetadataOperation
from outlast.sdk import runtime
from outlast.sdk.errors import (
    AbortTaskRunError,
    ForeignCallError,
    OutsideRunError,
    StepError,
    WaitInStepError,
)
from outlast.worker.capture import capture_logs
from stage import Server, child, sleep, step, trigger


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    loop = asyncio.get_running_loop()
    server = Server()
    yield server
    server.crash()
    loop.set_task_factory(None)


async def test_an_error_is_told_with_its_type_message_and_lines(server: Server) -> None:
    async def job(ctx: Any) -> None:
        raise ValueError("no such order")

    server.claim(server.task(job))
    failed = await server.end()
    assert (failed.error.kind, failed.error.type) == ("raised", "ValueError")
    assert failed.error.message == "no such order"
    assert 'raise ValueError("no such order")' in failed.error.stack
    assert "outlast/worker" not in failed.error.stack
    assert failed.retry_in == 0.01


async def test_the_last_attempt_is_not_followed_by_another(server: Server) -> None:
    async def job(ctx: Any) -> None:
        raise ValueError("no")

    server.claim(server.task(job), attempts=1)
    assert (await server.end()).retry_in is None


async def test_an_abort_is_never_retried(server: Server) -> None:
    async def job(ctx: Any) -> None:
        raise AbortTaskRunError("the card was stolen")

    server.claim(server.task(job))
    failed = await server.end()
    assert (failed.error.kind, failed.retry_in) == ("aborted", None)


async def test_a_retry_keeps_a_failure_that_the_code_handled(server: Server) -> None:
    ran: list[str] = []
    works = False

    def charge(provider: str) -> str:
        ran.append(provider)
        if provider == "a" and not works:
            raise ValueError("declined")
        return provider

    async def job(ctx: Any) -> str:
        try:
            paid = await step("charge", charge, "a")
        except StepError:
            paid = await step("charge", charge, "b")
        if ctx.attempt.number == 1:
            raise RuntimeError("the mail server is down")
        return str(paid)

    task = server.task(job)
    server.claim(task)
    assert (await server.end()).forgotten == ()
    works = True
    server.retry(task)
    assert await server.end() == "b"
    assert ran == ["a", "b"]


async def test_a_retry_does_again_what_ended_the_attempt(server: Server) -> None:
    ran: list[int] = []

    def flaky(attempt: int) -> str:
        ran.append(attempt)
        if len(ran) == 1:
            raise ValueError("declined")
        return "paid"

    async def job(ctx: Any) -> str:
        first = await step("before", str, "kept")
        try:
            return str(first) + str(await step("charge", flaky, 1))
        except StepError as error:
            raise RuntimeError("cannot charge") from error

    task = server.task(job)
    server.claim(task)
    assert (await server.end()).forgotten == ("step:charge#0",)
    server.retry(task)
    assert await server.end() == "keptpaid"
    assert len(ran) == 2


async def test_a_retry_that_goes_another_way_never_gets_another_calls_answer(
    server: Server,
) -> None:
    async def job(ctx: Any) -> list[Any]:
        customers = ["x", "y"] if ctx.attempt.number == 1 else ["y", "z"]
        charged = [await step("charge", str, name) for name in customers]
        if ctx.attempt.number == 1:
            raise RuntimeError("again")
        await sleep()
        return charged

    task = server.task(job)
    server.claim(task)
    await server.end()
    server.retry(task)
    await server.suspended()
    server.cold(task)
    await server.suspended()
    server.finish("wait:for#0@2")
    assert await server.end() == ["y", "z"]
    assert [key for key in server.entries["run_1"] if "charge" in key] == [
        "step:charge#0",
        "step:charge#1",
        "step:charge#1@2",
    ]


async def test_a_child_that_still_runs_is_joined_by_the_next_attempt(server: Server) -> None:
    async def job(ctx: Any) -> Any:
        if ctx.attempt.number == 1:
            task = asyncio.create_task(_child())
            await asyncio.sleep(0.02)
            raise RuntimeError("again") if not task.done() else AssertionError
        return await asyncio.create_task(_child())

    task = server.task(job)
    server.claim(task)
    await server.end()
    server.retry(task)
    (key,) = await server.suspended()
    server.finish(key, "joined")
    assert await server.end() == "joined"
    assert len(server.calls["run_1"]) == 1


async def _child() -> Any:
    return await child("c")


@pytest.mark.parametrize("where", ["the task", "a task of it"])
async def test_sys_exit_fails_its_run_and_no_other(server: Server, where: str) -> None:
    async def leave() -> None:
        await asyncio.sleep(0)
        sys.exit(3)

    async def bad(ctx: Any) -> None:
        if where == "the task":
            sys.exit(3)
        leaving = asyncio.create_task(leave())
        await sleep()
        await leaving

    async def good(ctx: Any) -> str:
        await sleep()
        return "fine"

    server.claim(server.task(good), "run_good")
    await server.suspended("run_good")
    server.claim(server.task(bad), "run_bad")
    failed = await server.end("run_bad")
    assert (failed.error.type, failed.error.message) == ("SystemExit", "3")
    server.finish("wait:for#0", run="run_good")
    assert await server.end("run_good") == "fine"


async def test_a_cancel_unwinds_and_ends_as_canceled(server: Server) -> None:
    cleaned: list[str] = []

    async def job(ctx: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(await step("clean", str, "up"))

    server.claim(server.task(job))
    await server.until(lambda: Kind.STARTED in server.kinds())
    server.cancel()
    failed = await server.end()
    assert (failed.error.kind, failed.error.message) == ("canceled", "somebody asked")
    assert failed.retry_in is None
    assert cleaned == ["up"]


async def test_a_drop_of_an_earlier_claim_says_nothing_about_the_latest(server: Server) -> None:
    """It was sent before the server heard that the run goes on here."""
    unwound: list[bool] = []

    async def job(ctx: Any) -> str:
        try:
            await sleep()
            await sleep()
        finally:
            unwound.append(True)
        return "fine"

    server.claim(server.task(job))
    await server.suspended()
    server.finish("wait:for#0")
    await server.called("wait:for#1")
    await server.suspended()

    server.executor.receive([frame(Kind.DROP, Empty(), run="run_1", token=1)])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert unwound == []
    server.finish("wait:for#1")
    assert await server.end() == "fine"


async def test_a_parked_run_that_something_outside_moves_asks_for_its_slot(
    server: Server,
) -> None:
    outside = asyncio.Event()

    async def listen() -> str:
        await outside.wait()
        return "heard"

    async def job(ctx: Any) -> list[Any]:
        return list(await asyncio.gather(child("c"), listen()))

    server.claim(server.task(job))
    await server.suspended()
    assert server.kinds().count(Kind.WAKE) == 0
    outside.set()
    await server.until(lambda: server.kinds().count(Kind.SUSPEND) == 2)
    assert server.kinds().count(Kind.WAKE) == 1
    server.finish("child:c#0", "done")
    assert await server.end() == ["done", "heard"]


async def test_what_a_run_leaves_behind_is_canceled_and_named(server: Server) -> None:
    ended: list[bool] = []

    async def straggler() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def job(ctx: Any) -> str:
        asyncio.get_running_loop().create_task(straggler(), name="straggler")
        await asyncio.sleep(0)
        return "done"

    server.claim(server.task(job))
    assert await server.end() == "done"
    assert ended == [True]
    assert any("straggler" in line for line in server.logs)


async def test_calls_after_the_end_are_refused(server: Server) -> None:
    kept: list[Any] = []

    async def job(ctx: Any) -> None:
        kept.append(runtime.current())

    server.claim(server.task(job))
    await server.end()
    with pytest.raises(OutsideRunError, match="run_1 has ended"):
        kept[0].reserve("child", "late")


async def test_calls_from_callbacks_and_waits_in_steps_are_refused(server: Server) -> None:
    async def job(ctx: Any) -> list[str]:
        found: list[str] = []
        called = asyncio.Event()

        def callback() -> None:
            try:
                child("c")
            except ForeignCallError:
                found.append("foreign")
            called.set()

        asyncio.get_running_loop().call_soon(callback)
        await called.wait()

        async def body() -> str:
            try:
                await sleep()
            except WaitInStepError:
                return "in step"
            return ""

        found.append(await step("s", body))
        return found

    server.claim(server.task(job))
    assert await server.end() == ["foreign", "in step"]


async def test_a_trigger_in_a_step_is_an_entry_under_the_step(server: Server) -> None:
    async def body() -> str:
        (made,) = await trigger("mail")
        return made.run_id

    async def job(ctx: Any) -> str:
        return str(await step("send", body))

    server.claim(server.task(job))
    assert await server.end() == "run_of_mail"
    assert server.calls["run_1"][0].key == "step:send#0/trigger:mail#0"


async def test_chance_is_repeated_and_a_steps_token_outlives_attempts(server: Server) -> None:
    seen: list[Any] = []

    async def job(ctx: Any) -> None:
        async def body() -> None:
            seen.append(ctx.step.token)
            if len(seen) < 3:
                raise ValueError("declined")

        seen.append((ctx.uuid4(), ctx.random(), ctx.uuid4()))
        await step("charge", body)

    task = server.task(job)
    server.claim(task)
    await server.end()
    server.retry(task)
    await server.end()
    assert seen[0] == seen[2]
    assert seen[0][0] != seen[0][2]
    assert seen[1] == seen[3]
    assert len(seen[1]) == 32


async def test_now_is_the_recorded_time(server: Server) -> None:
    async def job(ctx: Any) -> float:
        moment = ctx.now().timestamp()
        await sleep()
        return float(moment)

    task = server.task(job)
    server.claim(task)
    await server.suspended()
    recorded = server.entries["run_1"]["hook:now#0"].outcome
    assert recorded is not None
    server.cold(task)
    await server.suspended()
    server.finish("wait:for#0")
    assert await server.end() == pytest.approx(float(recorded.value or 0), abs=1e-5)
    assert server.kinds().count(Kind.STEP) == 1


async def test_metadata_counts_once_however_often_the_code_runs(server: Server) -> None:
    async def job(ctx: Any) -> dict[str, object]:
        current = runtime.current()
        assert current is not None
        for _ in range(3):
            current.operate(
                lambda scope, ordinal: MetadataOperation(scope, ordinal, "increment", ("n",), "1")
            )
            await step("s", str)
        await sleep()
        return current.metadata()

    task = server.task(job)
    server.claim(task)
    await server.suspended()
    assert server.positions == {"": 3}
    reports = server.kinds().count(Kind.REPORT)
    server.cold(task)
    await server.suspended()
    assert server.kinds().count(Kind.REPORT) == reports


async def test_a_replay_repeats_no_log_line(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.Logger, "callHandlers", logging.Logger.callHandlers)
    capture_logs(cast("Any", runtime.current))

    async def job(ctx: Any) -> None:
        log = logging.getLogger("job")
        log.warning("before")
        await step("s", str)
        log.warning("between")
        await sleep()
        log.warning("after")

    task = server.task(job)
    server.claim(task)
    await server.suspended()
    server.cold(task)
    await server.suspended()
    server.finish("wait:for#0")
    await server.end()
    assert server.logs == ["before", "between", "after"]


async def test_a_stale_lease_holds_what_is_new_back(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    async def job(ctx: Any) -> None:
        started.append(1)

    monkeypatch.setattr("outlast.worker.executor.FENCE_SECONDS", -1.0)
    server.claim(server.task(job))
    for _ in range(20):
        await asyncio.sleep(0)
    assert started == []
    monkeypatch.undo()
    server.beat()
    assert await server.end() is None


async def test_a_step_returns_what_the_journal_holds(server: Server) -> None:
    async def job(ctx: Any) -> Any:
        return await step("s", str, "mine")

    task = server.task(job)
    server.theirs = {"step:s#0": '"theirs"'}
    server.claim(task)
    assert await server.end() == "theirs"
