"""`raise Restart(payload)` in a worker: what it says, and what comes before it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from outlast.protocol.frames import Kind
from outlast.protocol.messages import Fail, Restart
from outlast.sdk import errors
from outlast.sdk.decorator import task
from stage import Server, sleep, step


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    loop = asyncio.get_running_loop()
    server = Server()
    yield server
    server.crash()
    loop.set_task_factory(None)


@pytest.mark.parametrize("grouped", [False, True])
async def test_a_restart_is_told_with_its_payload_from_any_depth(
    server: Server, grouped: bool
) -> None:
    async def deep() -> None:
        with contextlib.suppress(Exception):
            raise errors.Restart({"page": 2})

    async def job(ctx: Any) -> None:
        if not grouped:
            await deep()
        async with asyncio.TaskGroup() as group:
            group.create_task(deep())

    server.claim(server.task(job))

    assert await server.end() == Restart('{"page":2}')


async def test_a_payload_that_does_not_fit_fails_the_run_at_the_line_of_the_restart(
    server: Server,
) -> None:
    async def job(payload: int) -> None:
        raise errors.Restart("many")

    server.claim(server.add(task("job")(job)), payload="1")

    failed = await server.end()
    assert isinstance(failed, Fail)
    assert (failed.error.kind, failed.retry_in) == ("payload", None)
    assert "test_restarts.py:" in failed.error.line


async def test_a_def_task_begins_again_too(server: Server) -> None:
    def job(ctx: Any) -> None:
        raise errors.Restart(7)

    server.claim(server.task(job))

    assert await server.end() == Restart("7")


async def test_what_was_left_open_is_given_up_before_the_restart(server: Server) -> None:
    async def job(ctx: Any) -> None:
        waiting = asyncio.ensure_future(sleep())
        await step("read", lambda: 1)
        del waiting
        raise errors.Restart

    server.claim(server.task(job))
    await server.end()

    [key] = [key for key, entry in server.entries["run_1"].items() if entry.abandoned]
    assert "wait" in key
    assert server.kinds()[-1] is Kind.RESTART


async def test_a_run_that_is_canceled_does_not_begin_again(server: Server) -> None:
    async def job(ctx: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise errors.Restart

    server.claim(server.task(job))
    await server.until(lambda: Kind.STARTED in server.kinds())
    server.cancel()

    failed = await server.end()
    assert isinstance(failed, Fail)
    assert failed.error.kind == "canceled"


async def test_hooks_of_an_end_are_not_called_and_middleware_is_left(server: Server) -> None:
    said: list[str] = []

    def around() -> Iterator[None]:
        yield
        said.append("left")

    async def job(ctx: Any) -> None:
        raise errors.Restart

    hooks = server.registry.tasks[name := server.task(job)].hooks
    hooks.add("middleware", around)
    for kind in ("on_success", "on_failure", "on_complete", "catch_error", "on_cancel"):
        hooks.add(kind, lambda kind=kind: said.append(kind))
    server.claim(name)

    assert await server.end() == Restart()
    assert said == ["left"]
