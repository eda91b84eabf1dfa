"""Streams in an executor: chunks in order and once, and messages as entries of the journal."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from outlast import OutputError, WaitpointTimeoutError, step, streams, wait
from outlast.protocol.frames import Kind, frame
from outlast.protocol.messages import Result
from outlast.protocol.outcomes import Outcome, RunError
from stage import Server

words = streams.define("words", str)


class Approval(BaseModel):
    """What an editor says."""

    approved: bool


approval = streams.input("approval", Approval)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    loop = asyncio.get_running_loop()
    server = Server()
    yield server
    server.crash()
    loop.set_task_factory(None)


async def source(*values: str) -> AsyncIterator[str]:
    for value in values:
        yield value


async def test_what_is_appended_piped_and_written_arrives_in_order(server: Server) -> None:
    async def job(ctx: Any) -> int:
        await words.append("a")
        count = await words.pipe(source("b", "c"), target="parent")
        async with words.writer(target="run_9") as writer:
            await writer.write("d")
        await streams.append({"any": 1})
        return count

    server.claim(server.task(job))

    assert await server.end() == 2
    assert server.appended == [
        ("words", '"a"', "self"),
        ("words", '"b"', "parent"),
        ("words", '"c"', "parent"),
        ("words", '"d"', "run_9"),
        ("default", '{"any":1}', "self"),
    ]


async def test_chunks_are_stored_before_the_entry_and_the_end_that_follow_them(
    server: Server,
) -> None:
    async def job(ctx: Any) -> None:
        await words.append("before the wait")
        await wait.for_(days=1)
        await words.append("before the end")

    server.claim(server.task(job))
    await server.suspended()
    server.finish("wait:for#0")
    await server.end()

    kinds = [kind for kind, _ in server.frames if kind in (Kind.APPEND, Kind.CALL, Kind.COMPLETE)]
    assert kinds == [Kind.APPEND, Kind.CALL, Kind.APPEND, Kind.COMPLETE]


async def test_a_replay_appends_nothing_twice(server: Server) -> None:
    """Also in branches and in the body of a step that is executed again."""

    async def branch(name: str) -> None:
        for number in range(3):
            await words.append(f"{name}{number}")
        await wait.for_(days=1)

    async def body() -> int:
        await words.append("in the step")
        return 1

    async def job(ctx: Any) -> None:
        await step("s", body)
        await asyncio.gather(branch("a"), branch("b"))
        await words.append("end")

    server.claim(server.task(job))
    await server.suspended()
    first = list(server.appended)
    server.cold("job")
    await server.suspended()
    for key in sorted(key for key in server.entries["run_1"] if key.endswith("wait:for#0")):
        server.finish(key)
    await server.end()

    assert len(first) == 7
    assert server.appended == [*first, ("words", '"end"', "self")]


async def test_what_does_not_repeat_itself_is_appended_afresh(server: Server) -> None:
    """A model says something else when its call is made again."""
    said = iter(["one", "two"])

    async def job(ctx: Any) -> None:
        await words.pipe(source(next(said)), afresh=True)
        await wait.for_(days=1)

    server.claim(server.task(job))
    await server.suspended()
    server.cold("job")
    await server.suspended()
    server.finish("wait:for#0")
    await server.end()

    assert [data for _, data, _ in server.appended] == ['"one"', '"two"']


async def test_a_fast_writer_fills_frames_and_waits_when_it_is_far_ahead(server: Server) -> None:
    async def job(ctx: Any) -> None:
        async with words.writer() as writer:
            for number in range(2_000):
                await writer.write(f"{number:06}" * 200)

    server.claim(server.task(job))
    await server.end()

    appends = [body for kind, body in server.frames if kind == Kind.APPEND]
    assert len(server.appended) == 2_000
    assert [data[1:7] for _, data, _ in server.appended] == [f"{n:06}" for n in range(2_000)]
    assert len(appends) < 10
    assert all(sum(len(chunk.data) for chunk in body.chunks) <= 2**20 for body in appends)


async def test_what_was_left_out_is_said_once_in_the_log(server: Server) -> None:
    server.left_out = ("stream words of run run_1: the run has ended",)

    async def job(ctx: Any) -> None:
        for _ in range(3):
            async with words.writer() as writer:
                await writer.write("x")

    server.claim(server.task(job))
    await server.end()

    told = [line for line in server.logs if "left out" in line]
    assert told == ["what was appended is left out: stream words of run run_1: the run has ended"]


async def test_a_message_is_received_typed_and_replayed(server: Server) -> None:
    async def job(ctx: Any) -> list[bool]:
        first = await approval.wait(timeout="7d").unwrap()
        second = await approval.once()
        return [first.approved, second.approved]

    server.claim(server.task(job))
    assert await server.suspended() == ("stream:approval#0",)
    server.finish("stream:approval#0", {"approved": True})
    await server.suspended()
    server.cold("job")
    await server.suspended()
    server.finish("stream:approval#1", {"approved": False})

    assert await server.end() == [True, False]
    calls = server.calls["run_1"]
    assert [(call.kind, call.target, call.timeout) for call in calls] == [
        ("stream", "approval", 604_800.0),
        ("stream", "approval", None),
    ]


async def test_listening_receives_message_after_message(server: Server) -> None:
    async def job(ctx: Any) -> int:
        count = 0
        async for said in approval.listen():
            count += 1
            if said.approved:
                break
        return count

    server.claim(server.task(job))
    for number, said in enumerate((False, False, True)):
        await server.suspended()
        server.finish(f"stream:approval#{number}", {"approved": said})

    assert await server.end() == 3


def timed_out(server: Server, key: str) -> None:
    late = RunError(kind="timed_out", type="TimeoutError", message="the wait timed out")
    entry = server.entries["run_1"][key]
    outcome = Outcome(ok=False, error=late)
    server.entries["run_1"][key] = msgspec.structs.replace(entry, outcome=outcome)
    server.claim("job", resume="warm")


async def test_a_wait_that_timed_out_is_a_result_and_once_raises(server: Server) -> None:
    async def job(ctx: Any) -> list[str]:
        result = await approval.wait(timeout=60)
        told = [str(result.error)]
        try:
            await approval.once(timeout=60)
        except WaitpointTimeoutError as error:
            told.append(type(error).__name__)
        return told

    server.claim(server.task(job))
    for number in range(2):
        await server.suspended()
        timed_out(server, f"stream:approval#{number}")

    assert await server.end() == [
        "nothing came on input stream approval in time",
        "WaitpointTimeoutError",
    ]


async def test_a_message_of_another_type_names_its_field(server: Server) -> None:
    async def job(ctx: Any) -> str:
        try:
            await approval.once()
        except OutputError as error:
            return str(error)
        return ""

    server.claim(server.task(job))
    await server.suspended()
    server.finish("stream:approval#0", {"approved": "perhaps"})

    assert "message.approved" in str(await server.end())


async def test_a_look_is_recorded_and_never_gives_the_slot_back(server: Server) -> None:
    async def job(ctx: Any) -> list[object]:
        first, second = await approval.peek(), await approval.peek()
        return [first, None if second is None else second.approved]

    server.claim(server.task(job))
    await server.called("peek:approval#0")
    nothing = Result("peek:approval#0", Outcome(ok=True))
    server.executor.receive([frame(Kind.RESULT, nothing, run="run_1", token=1)])
    await server.called("peek:approval#1")
    server.finish("peek:approval#1", {"approved": True})

    assert await server.end() == [None, True]
    assert Kind.SUSPEND not in server.kinds()
