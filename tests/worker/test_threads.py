"""The threads that plain functions of steps run in."""

import asyncio
import threading

import pytest

from outlast.worker.threads import Threads


async def test_calls_that_do_not_block_share_a_thread() -> None:
    threads = Threads(asyncio.get_running_loop())
    used = {await threads.run(threading.get_ident) for _ in range(50)}
    assert len(used) == 1
    assert threading.get_ident() not in used


async def test_calls_that_block_get_threads_of_their_own() -> None:
    threads = Threads(asyncio.get_running_loop(), most=8)
    together = threading.Barrier(8)
    async with asyncio.timeout(10):
        await asyncio.gather(*(threads.run(together.wait) for _ in range(8)))


async def test_there_are_no_more_threads_than_allowed() -> None:
    threads = Threads(asyncio.get_running_loop(), most=1)
    opened = threading.Event()
    first, second = threads.run(opened.wait), threads.run(threading.get_ident)
    done, _ = await asyncio.wait([first, second], timeout=0.05)
    assert not done
    opened.set()
    assert await first
    assert await second


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)])
async def test_an_error_is_the_callers(error: BaseException) -> None:
    def fail() -> None:
        raise error

    threads = Threads(asyncio.get_running_loop())
    with pytest.raises(type(error)) as raised:
        await threads.run(fail)
    assert raised.value is error
    assert await threads.run(lambda: 1) == 1


async def test_stop_iteration_does_not_hang_its_caller() -> None:
    threads = Threads(asyncio.get_running_loop())
    with pytest.raises(RuntimeError, match="StopIteration"):
        await threads.run(lambda: next(iter(())))


async def test_a_call_that_is_canceled_before_its_turn_is_not_made() -> None:
    threads = Threads(asyncio.get_running_loop(), most=1)
    opened = threading.Event()
    made: list[int] = []
    first, second = threads.run(opened.wait), threads.run(lambda: made.append(1))
    second.cancel()
    opened.set()
    assert await first
    await threads.run(lambda: None)
    assert made == []


def test_an_answer_that_comes_after_its_loop_is_nobodys() -> None:
    """The thread goes on; no traceback of it stands at the end of a worker's log."""
    opened, went_on = threading.Event(), threading.Event()

    async def leave() -> None:
        threads = Threads(asyncio.get_running_loop(), most=1)
        threads.run(opened.wait)
        threads.run(went_on.set)

    asyncio.run(leave())
    opened.set()
    assert went_on.wait(10)
