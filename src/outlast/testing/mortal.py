"""Runs that can die: killed, their code never goes on, and nothing of it unwinds."""

import asyncio
import contextlib
import ctypes
import sys
import threading
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, cast

from outlast.protocol.messages import Claim
from outlast.sdk import runtime
from outlast.sdk.task import Task
from outlast.worker import scopes
from outlast.worker.async_run import AsyncRun
from outlast.worker.function_threads import throw
from outlast.worker.host import Host
from outlast.worker.quiescence import Stillness
from outlast.worker.run import Run
from outlast.worker.slot import State
from outlast.worker.sync_run import SyncRun

_HOOK = "_asyncgen_firstiter_hook"


class Life:
    """Of one worker: once it is over, no code of its runs goes on."""

    def __init__(self) -> None:
        self.over = False


class MortalRun(Run):
    """A run of a worker in process."""

    life: Life

    def awaited(self) -> tuple[str, ...] | None:
        """Return the open entries that everything in the run waits for; None: it goes on."""
        if self.state is State.PARKED:
            return ()
        waiting = [item for item in self._waiting if item.waits]
        still = (
            self.state is State.EXECUTING
            and waiting
            and not self.steps
            and all(item.outcome is None for item in waiting)
            and not self.sending.waiting
            and not self.sending.unanswered
            and self._look() in (Stillness.STILL, Stillness.SETTLED)
        )
        return tuple(item.wire for item in waiting) if still else None

    def held_back(self) -> str | None:
        """Return the new entry that may not begin, once nothing else goes on."""
        if not self._held_back or self.steps or self._look() is Stillness.BUSY:
            return None
        return next((each.wire for each in self.journal.items.values() if not each.made), None)

    @abstractmethod
    def die(self) -> None:
        """Stop for ever, as if the process were killed."""

    @abstractmethod
    def where(self) -> str:
        """Return the line that the code stands at."""


class MortalAsyncRun(MortalRun, AsyncRun):
    """A run of an `async def` task that can be killed."""

    def __init__(
        self, claim: Claim, token: int, task: Task[Any, Any], host: Host, life: Life
    ) -> None:
        super().__init__(claim, token, task, host)
        self.life = life

    def die(self) -> None:
        """Stop for ever: what awaits is canceled outside of the user's code."""
        self.end()
        for task in [*self._tasks, self._main]:
            if task is not None and not task.done():
                _never_collect(scopes.inner(cast("Any", task.get_coro())))
                task.cancel()

    def where(self) -> str:
        """Return the line that the function stands at."""
        stack = [frame for task in self._tasks for frame in _stack(task.get_coro())]
        mine = [frame for frame in stack if frame.f_code.co_filename == self.task.file]
        found = mine or stack
        return f"{self.task.file}:{found[-1].f_lineno}" if found else self.task.place


class MortalSyncRun(MortalRun, SyncRun):
    """A run of a `def` task: killed, its thread ends at its next call, and never wakes."""

    def __init__(
        self, claim: Claim, token: int, task: Task[Any, Any], host: Host, life: Life
    ) -> None:
        super().__init__(claim, token, task, host, threads=_ThreadEach())
        self.life = life

    def die(self) -> None:
        """Stop at the next call. What the thread does until then it does."""
        self.end()

    def where(self) -> str:
        """Return the line that the function stands at."""
        frame = self.function_thread.frame()
        while frame is not None and frame.f_code.co_filename != self.task.file:
            frame = frame.f_back
        return self.task.place if frame is None else f"{self.task.file}:{frame.f_lineno}"

    def _check_interrupted(self) -> None:
        if self.life.over:
            threading.Event().wait()
        super()._check_interrupted()


class _ThreadEach:
    """Gives every function a thread that ends with it: a test leaves none behind."""

    interrupt = staticmethod(throw)

    def put(self, job: Callable[[], None], /) -> None:
        threading.Thread(target=job, name="run", daemon=True).start()


class _Mortal(scopes.Boundary):
    """The boundary of a coroutine whose worker may be killed."""

    def __init__(self, inner: scopes.Steps, owner: MortalAsyncRun) -> None:
        super().__init__(inner, owner)
        self._life = owner.life

    def send(self, value: Any) -> Any:
        """Run to the next suspension; a dead one stays where it is."""
        return _for_ever() if self._life.over else super().send(value)

    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None) -> Any:
        """Run to the next suspension, beginning with an exception; a dead one just ends."""
        if self._life.over:
            raise typ
        return super().throw(typ, val, tb)


@contextlib.contextmanager
def mortality(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Make the tasks of runs on a loop mortal, and known to their runs. Raises `RuntimeError`."""
    before = loop.get_task_factory()
    if getattr(before, "outlast", False):
        raise RuntimeError("a platform is open on this event loop already; close that one first")

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        if isinstance(coro, scopes.Boundary) and isinstance(coro.owner, MortalAsyncRun):
            coro = _Mortal(coro.inner, coro.owner)
        if before is not None:
            return before(loop, coro, **options)
        return asyncio.Task(coro, loop=loop, **options)

    order = asyncio.as_completed
    loop.set_task_factory(cast("Any", factory))
    scopes.install(loop)
    scopes.keep_order()
    try:
        with _generators_left(loop):
            yield
    finally:
        loop.set_task_factory(before)
        asyncio.as_completed = order


@contextlib.contextmanager
def _generators_left(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Keep the loop from closing the generators of runs when it ends: that would unwind them."""
    remember = sys.get_asyncgen_hooks().firstiter

    def begin(generator: AsyncGenerator[Any, Any]) -> None:
        if remember is not None and not isinstance(runtime.current(), MortalRun):
            remember(generator)

    own = vars(loop) if hasattr(loop, "__dict__") else {}  # a loop of another make closes them
    sys.set_asyncgen_hooks(firstiter=begin)  # of this round of the loop
    own[_HOOK] = begin  # of its later ones
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(firstiter=remember)
        own.pop(_HOOK)


def _stack(coro: object) -> Iterator[FrameType]:
    """Yield the frames of a suspended coroutine, the outermost first."""
    while coro is not None:
        frame = getattr(coro, "cr_frame", None)
        if frame is not None:
            yield frame
        coro = getattr(coro, "cr_await", None)


def _for_ever() -> asyncio.Future[None]:
    """Return what a task may be given to await until the end of its loop."""
    future = asyncio.get_running_loop().create_future()
    future._asyncio_future_blocking = True  # noqa: SLF001 - what `await` does
    return future


def _never_collect(coro: object) -> None:
    """Keep a coroutine from being closed, which would unwind it: a killed process does not."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(coro))
