"""Is a run still? Whether its asyncio tasks wait for entries only, or for the outside world.

A task is seen through what it awaits: the future that will wake it and the innermost frame of its
coroutine. asyncio's own coordination (gather, TaskGroup, wait, Event, Queue, Lock) is no reason to
stay awake, because another task of the run ends it; anything unknown is taken for the outside.
"""

import asyncio
import functools
from asyncio import locks, queues, taskgroups, tasks
from collections.abc import Callable, Coroutine, Iterable
from enum import IntEnum
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeAlias

AnyFuture: TypeAlias = asyncio.Future[Any]

_GATHERING: type[AnyFuture] = getattr(tasks, "_GatheringFuture", asyncio.Future)
_COORDINATION = frozenset(str(module.__file__) for module in (locks, queues, taskgroups))
_TASKS_FILE = str(tasks.__file__)
_WAITS = frozenset({"_wait", "wait_for", "_wait_for_one", "_cancel_and_wait"})
_ANYIO = str(Path("anyio", "_backends", "_asyncio.py"))
_MAX_DEPTH = 200


class Stillness(IntEnum):
    """What a run is doing."""

    BUSY = 0  # a task is about to run
    FOREIGN = 1  # nothing is about to run, something waits for the outside world
    STILL = 2  # everything waits for entries, or for what only they can end
    SETTLED = 3  # every task waits for an entry itself: no callback that is pending changes that


class EntryFuture(asyncio.Future[Any]):
    """Resolves when the result of an entry is delivered."""


def look(running: Iterable[asyncio.Task[Any]], ours: Callable[[AnyFuture], bool]) -> Stillness:
    """Return what the tasks of a run are doing, seen from a callback of their loop.

    `ours` says whether a future is a task of the run. The answer holds if no callback is pending:
    a future that is done tells those who wait for it one turn of the loop later.
    """
    still = Stillness.STILL
    for task in running:
        if task.done():
            continue
        waiter: AnyFuture | None = getattr(task, "_fut_waiter", None)
        if waiter is None or waiter.done():
            return Stillness.BUSY
        if still is Stillness.STILL and not _waits_inside(task, waiter, ours):
            still = Stillness.FOREIGN
    return still


def all_ask(running: Iterable[asyncio.Task[Any]]) -> bool:
    """Say whether every task waits for an entry itself: the common case, and told at a glance."""
    for task in running:
        waiter = getattr(task, "_fut_waiter", None)
        if not isinstance(waiter, EntryFuture) or waiter.done() or task.done():
            return False
    return True


def is_idle(loop: asyncio.AbstractEventLoop) -> bool | None:
    """Say whether a loop has no callback left to run; None when it cannot be asked."""
    ready = getattr(loop, "_ready", None)
    return None if ready is None else not ready


def innermost(coro: object) -> FrameType | None:
    """Return the frame that a suspended coroutine stands in."""
    frame = None
    for _ in range(_MAX_DEPTH):
        if coro is None:
            break
        found = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None)
        if found is None:
            break
        frame = found
        awaited = getattr(coro, "cr_await", None)
        coro = awaited if awaited is not None else getattr(coro, "gi_yieldfrom", None)
    return frame


def _waits_inside(
    task: asyncio.Task[Any], waiter: AnyFuture, ours: Callable[[AnyFuture], bool]
) -> bool:
    if _ends_inside(waiter, ours):
        return True
    if isinstance(waiter, asyncio.Task | _GATHERING):
        return False
    frame = innermost(_coroutine(task))
    if frame is None or not _coordinates(frame.f_code):
        return False
    if frame.f_code.co_filename == _TASKS_FILE:
        names = frame.f_locals
        awaited = names.get("fs") or [each for each in (names.get("fut"),) if each is not None]
        return all(_ends_inside(each, ours) for each in awaited)
    return True


def _ends_inside(future: object, ours: Callable[[AnyFuture], bool]) -> bool:
    """Say whether only the run itself, or an entry of it, can end a future."""
    if not isinstance(future, asyncio.Future):
        return False
    if isinstance(future, EntryFuture) or future.done():
        return True
    if isinstance(future, asyncio.Task):
        return ours(future)
    if isinstance(future, _GATHERING):
        return all(_ends_inside(child, ours) for child in getattr(future, "_children", ()))
    shielded = _shielded(future)
    return shielded is not None and _ends_inside(shielded, ours)


def _shielded(future: AnyFuture) -> object | None:
    """Return what `asyncio.shield` guards when it returned this future."""
    for callback, _ in getattr(future, "_callbacks", None) or ():
        if getattr(callback, "__qualname__", "") == "shield.<locals>._outer_done_callback":
            cells = dict(zip(callback.__code__.co_freevars, callback.__closure__, strict=True))
            return cells["inner"].cell_contents if "inner" in cells else None
    return None


def _coroutine(task: asyncio.Task[Any]) -> Coroutine[Any, Any, Any] | None:
    coro = task.get_coro()
    return coro if isinstance(coro, Coroutine) else None


@functools.cache
def _coordinates(code: CodeType) -> bool:
    if code.co_filename in _COORDINATION:
        return True
    if code.co_filename == _TASKS_FILE:
        return code.co_name in _WAITS
    return code.co_filename.endswith(_ANYIO) and code.co_name == "__aexit__"
