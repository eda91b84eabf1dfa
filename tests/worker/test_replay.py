"""A replay takes the branches that the run took, whatever has finished since."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from outlast.sdk.errors import RunFailed
from stage import Server, child, sleep, step, trigger


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    loop = asyncio.get_running_loop()
    server = Server()
    yield server
    server.crash()
    loop.set_task_factory(None)


async def test_a_task_returns_its_output(server: Server) -> None:
    async def hello(ctx: Any) -> str:
        return f"attempt {ctx.attempt.number}"

    server.claim(server.task(hello))
    assert await server.end() == "attempt 1"


async def test_steps_are_recorded_once_and_answer_from_the_journal(server: Server) -> None:
    ran: list[str] = []

    def work(name: str) -> str:
        ran.append(name)
        return name.upper()

    async def job(ctx: Any) -> list[str]:
        first = await step("first", work, "a")
        await child("c")
        return [first, await step("second", work, "b")]

    task = server.task(job)
    server.claim(task)
    assert await server.suspended() == ("child:c#0",)
    server.cold(task)
    assert await server.suspended() == ("child:c#0",)
    server.finish("child:c#0")
    assert await server.end() == ["A", "B"]
    assert ran == ["a", "b"]
    assert len(server.calls["run_1"]) == 1


async def test_a_suspend_travels_right_behind_the_call_that_blocks(server: Server) -> None:
    async def job(ctx: Any) -> None:
        await sleep()

    server.claim(server.task(job))
    await server.suspended()
    kinds = [kind.name for kind in server.kinds()]
    assert kinds == ["STARTED", "CALL", "SUSPEND"]
    server.finish("wait:for#0")
    await server.end()
    assert [kind.name for kind in server.kinds()][3:] == ["DELIVERED", "COMPLETE"]


async def test_first_completed_takes_the_same_branch_when_the_loser_has_finished(
    server: Server,
) -> None:
    async def job(ctx: Any) -> list[str]:
        slow = asyncio.ensure_future(_named("slow"))
        fast = asyncio.ensure_future(_named("fast"))
        done, _ = await asyncio.wait({slow, fast}, return_when=asyncio.FIRST_COMPLETED)
        first = sorted(task.result() for task in done)
        await sleep()
        return [*first, *sorted([await slow, await fast])]

    task = server.task(job)
    server.claim(task)
    await server.suspended()
    server.finish("child:fast#0")
    await server.called("wait:for#0")
    await server.suspended()
    server.finish("child:slow#0")
    await server.suspended()
    server.cold(task)
    await server.suspended()
    server.finish("wait:for#0")
    assert await server.end() == ["fast", "fast", "slow"]


async def _named(name: str) -> str:
    await child(name)
    return name


async def test_as_completed_replays_in_the_order_of_delivery(server: Server) -> None:
    async def job(ctx: Any) -> list[str]:
        seen = []
        for next_one in asyncio.as_completed([_named(name) for name in "abcd"]):
            seen.append(await next_one)
            await step("save", str, seen[-1])
        await sleep()
        return seen

    task = server.task(job)
    server.claim(task)
    keys = await server.suspended()
    by_name = {key.rpartition(":")[2][0]: key for key in keys}
    for name in "cadb":
        server.finish(by_name[name])
    await server.called("wait:for#0")
    await server.suspended()
    order = server.order()
    for _ in range(2):
        server.cold(task)
        await server.suspended()
        assert server.order() == order
    server.finish("wait:for#0")
    assert await server.end() == list("cadb")


async def test_a_timeout_that_fired_fires_again_though_the_child_has_finished(
    server: Server,
) -> None:
    async def job(ctx: Any) -> str:
        try:
            async with asyncio.timeout(0.05):
                return str(await child("slow"))
        except TimeoutError:
            await step("fall back", str)
        await sleep()
        return "fell back"

    task = server.task(job)
    server.claim(task)
    await server.called("wait:for#0")
    await server.suspended()
    assert server.entries["run_1"]["child:slow#0"].abandoned
    server.finish("child:slow#0", "late")
    server.cold(task)
    await server.suspended()
    server.finish("wait:for#0")
    assert await server.end() == "fell back"


async def test_a_task_group_whose_member_failed_fails_again(server: Server) -> None:
    async def job(ctx: Any) -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_named("good"))
                group.create_task(_named("bad"))
        except* RunFailed as errors:
            kind = type(errors.exceptions[0]).__name__
        await sleep()
        return kind

    task = server.task(job)
    server.claim(task)
    await server.suspended()
    server.finish("child:bad#0", error="broken")
    await server.called("wait:for#0")
    await server.suspended()
    server.finish("child:good#0")
    server.cold(task)
    await server.suspended()
    server.finish("wait:for#0")
    assert await server.end() == "RunFailed"


async def test_gather_needs_no_scopes(server: Server) -> None:
    async def job(ctx: Any) -> list[Any]:
        return list(await asyncio.gather(*(child("page", number) for number in range(3))))

    task = server.task(job)
    server.claim(task)
    assert await server.suspended() == tuple(f"child:page#{number}" for number in range(3))
    server.finish("child:page#2", 2)
    server.cold(task)
    await server.suspended()
    server.finish("child:page#0", 0)
    server.finish("child:page#1", 1)
    assert await server.end() == [0, 1, 2]
    assert len(server.calls["run_1"]) == 3


async def test_tasks_of_libraries_shift_nothing(server: Server) -> None:
    cold_pool = True

    async def connect() -> None:
        await asyncio.sleep(0)

    async def worker(name: str) -> str:
        nonlocal cold_pool
        if cold_pool:
            await asyncio.gather(connect(), connect())
            cold_pool = False
        await child(name)
        return name

    async def job(ctx: Any) -> list[str]:
        return list(await asyncio.gather(worker("a"), worker("b")))

    task = server.task(job)
    server.claim(task)
    keys = await server.suspended()
    server.cold(task)
    assert await server.suspended() == keys
    for key in keys:
        server.finish(key)
    assert await server.end() == ["a", "b"]
    assert len(server.calls["run_1"]) == 2


async def test_another_order_of_calls_is_told_and_parks_the_run(server: Server) -> None:
    names = ["a", "b"]

    async def job(ctx: Any) -> None:
        for name in names:
            await step(name, str)
        await sleep()

    task = server.task(job)
    server.claim(task)
    await server.suspended()
    names.reverse()
    server.cold(task)
    failed = await server.end()
    assert failed.error.kind == "replay"
    assert "call 1 of the task was step:a#0" in failed.error.message
    assert failed.retry_in is None


async def test_steps_that_ran_side_by_side_may_finish_in_any_order(server: Server) -> None:
    async def work(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def job(ctx: Any) -> list[float]:
        both = await asyncio.gather(step("slow", work, 0.05), step("fast", work, 0.01))
        await sleep()
        return list(both)

    task = server.task(job)
    server.claim(task)
    await server.suspended()
    server.cold(task)
    await server.suspended()
    server.finish("wait:for#0")
    assert await server.end() == [0.05, 0.01]


async def test_a_trigger_answers_with_the_recorded_run(server: Server) -> None:
    async def job(ctx: Any) -> str:
        (made,) = await trigger("mail")
        await sleep()
        return made.run_id

    task = server.task(job)
    server.claim(task)
    await server.suspended()
    server.cold(task)
    await server.suspended()
    server.finish("wait:for#0")
    assert await server.end() == "run_of_mail"
    assert len(server.calls["run_1"]) == 2
