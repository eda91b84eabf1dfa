"""Which awaits keep a run awake, and which are only its own coordination."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from outlast.worker import scopes
from outlast.worker.quiescence import EntryFuture, Stillness, look

Main = Callable[[], Awaitable[Any]]


async def _entry() -> None:
    await EntryFuture(loop=asyncio.get_running_loop())


async def _stillness(main: Main) -> Stillness:
    """Return what is seen of the tasks that `main` makes, once nothing moves any more."""
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks()
    task = asyncio.ensure_future(main())
    for _ in range(10):
        await asyncio.sleep(0)
    made = asyncio.all_tasks() - before
    seen = loop.create_future()
    loop.call_soon(lambda: seen.set_result(look(made, made.__contains__)))
    result: Stillness = await seen
    for each in made:
        each.cancel()
    await asyncio.gather(task, *made, return_exceptions=True)
    return result


async def gather() -> None:
    await asyncio.gather(_entry(), _entry())


async def nested_gather() -> None:
    await asyncio.gather(asyncio.gather(_entry()), _entry())


async def group() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_entry())
        tasks.create_task(_entry())


async def anyio_group() -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_entry)


async def wait() -> None:
    await asyncio.wait({asyncio.ensure_future(_entry())}, timeout=60)


async def wait_for() -> None:
    await asyncio.wait_for(_entry(), 60)


async def timeout() -> None:
    async with asyncio.timeout(60):
        await _entry()


async def as_completed() -> None:
    for each in asyncio.as_completed([_entry(), _entry()]):
        await each


async def shield() -> None:
    await asyncio.shield(_entry())


async def event() -> None:
    await asyncio.gather(asyncio.Event().wait(), _entry())


async def queue() -> None:
    await asyncio.gather(asyncio.Queue[int]().get(), _entry())


async def lock() -> None:
    held = asyncio.Lock()
    async with held:
        await asyncio.gather(held.acquire(), _entry())


@pytest.mark.parametrize(
    "main",
    [
        _entry,
        gather,
        nested_gather,
        group,
        anyio_group,
        wait,
        wait_for,
        timeout,
        as_completed,
        shield,
        event,
        queue,
        lock,
    ],
)
async def test_coordination_is_still(main: Main) -> None:
    assert await _stillness(main) is Stillness.STILL


async def slept() -> None:
    await asyncio.gather(asyncio.sleep(60), _entry())


async def thread() -> None:
    ended = threading.Event()
    try:
        await asyncio.gather(asyncio.to_thread(ended.wait, 60), _entry())
    finally:
        ended.set()


async def own_future() -> None:
    await asyncio.gather(asyncio.get_running_loop().create_future(), _entry())


async def waited_future() -> None:
    await asyncio.wait([asyncio.get_running_loop().create_future()])


async def connection() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            await reader.read()
        finally:
            writer.close()


@pytest.mark.parametrize("main", [slept, thread, own_future, waited_future, connection])
async def test_what_comes_from_outside_is_foreign(main: Main) -> None:
    assert await _stillness(main) is Stillness.FOREIGN


async def test_a_task_that_is_about_to_run_is_busy() -> None:
    task = asyncio.ensure_future(_entry())
    seen: list[Stillness] = []
    assert look([task], [task].__contains__) is Stillness.BUSY
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(lambda: seen.append(look([task], [task].__contains__)))
    await asyncio.sleep(0)
    assert seen == [Stillness.STILL]
    task.cancel()
    assert look([task], [task].__contains__) is Stillness.BUSY


async def test_names_look_through_wrappers() -> None:
    coro = _entry()
    name = scopes.name_of(coro)
    assert name.endswith("test_quiescence._entry")
    coro.close()
