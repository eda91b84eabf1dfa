"""The threads that the functions of `def` tasks execute in, and how an error is raised in one.

A dedicated executor calls one function at a time, on its main thread, which a signal interrupts
also in a call that blocks. A shared one calls many, each in a thread of its own, where an error
can be thrown only between two lines of Python.
"""

import asyncio
import ctypes
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from outlast.sdk import runtime
from outlast.sdk.errors import Interrupt
from outlast.worker.threads import Threads
from outlast.worker.whereabouts import is_ours, is_users

INTERRUPT_SIGNAL = signal.SIGUSR2
"""Reaches the main thread of an executor also in a call that blocks, such as `time.sleep`."""
MOST_THREADS = 10_000
"""More than any executor has: as many as runs execute and wait in it."""


class Interruptible(Protocol):
    """A run of a `def` task."""

    @property
    def function_thread(self) -> "FunctionThread":
        """The thread that its function executes in."""

    def take_interrupt(self) -> Interrupt | None:
        """Return what is to be raised in the function, once."""


class FunctionThread:
    """The thread of one function, from its call to its end.

    An error is thrown into it at most once, and only while the function is `inside`: the thread
    waits on its way out for one that is under way, and takes it back if it has not landed.
    """

    def __init__(self) -> None:
        self.id: int | None = None
        self.number: int | None = None
        """What the system calls it."""
        self.inside = False
        self.is_over = False
        self._throwing = False
        self._thrown = False

    def begin(self) -> None:
        """Take note that this is the thread."""
        self.id = threading.get_ident()
        self.number = threading.get_native_id()

    def call(self, function: Callable[[], object]) -> object:
        """Call the function; only there it may be interrupted."""
        try:
            try:
                self.inside = True
                return function()
            finally:
                self._leave()  # an error may land here still
        finally:
            self._leave()  # and here none, as there is at most one

    def frame(self) -> FrameType | None:
        """Return where the thread stands."""
        found = sys._current_frames()  # noqa: SLF001 - the documented way
        return None if self.id is None else found.get(self.id)

    def throw(self, error: Interrupt) -> None:
        """Raise an error in the function. From another thread."""
        if self._throwing or not self.inside:
            return
        self._throwing = True
        if self.inside:  # still; and from now on the thread waits for us before it leaves
            _raise_in(self.id, _bare(error))
        self._thrown = True

    def _leave(self) -> None:
        self.inside = False
        if self._throwing:
            while not self._thrown:
                time.sleep(0)
            _raise_in(self.id, None)


class FunctionThreads(Protocol):
    """Where the functions of `def` tasks execute."""

    def put(self, job: Callable[[], None], /) -> None:
        """Execute a job as soon as that can be. On the loop."""

    def interrupt(self, run: Interruptible, /) -> None:
        """Raise what is to be raised in a function, if it can take it now. On the loop."""


class MainThread:
    """Executes one function after the other on the main thread."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def put(self, job: Callable[[], None], /) -> None:
        """Execute a job after those before it."""
        self._jobs.put(job)

    def interrupt(self, run: Interruptible, /) -> None:
        """Send the main thread a signal."""
        if run.function_thread.id is not None:
            signal.pthread_kill(run.function_thread.id, INTERRUPT_SIGNAL)

    def serve(self) -> None:
        """Execute jobs for ever. On the main thread."""
        signal.signal(INTERRUPT_SIGNAL, _interrupted)
        while True:
            self._jobs.get()()


class SharedThreads:
    """Executes functions side by side, in threads that are used again."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._threads = Threads(loop, MOST_THREADS, name="run")

    def put(self, job: Callable[[], None], /) -> None:
        """Execute a job in a thread."""
        self._threads.run(job)

    def interrupt(self, run: Interruptible, /) -> None:
        """Throw the error, if the function can take it now."""
        throw(run)


def throw(run: Interruptible, /) -> None:
    """Throw what is to be raised in a function, while a line of the user's own code executes.

    A library may hold a lock that other runs need, and would never give it back.
    """
    thread = run.function_thread
    if thread.inside and is_users(thread.frame()) and (error := run.take_interrupt()):
        thread.throw(error)


def _interrupted(_signal: int, found: FrameType | None) -> None:
    """Raise what is to be raised in the function that the main thread executes."""
    run: Any = runtime.current()
    thread = getattr(run, "function_thread", None)
    if thread is None or not thread.inside or is_ours(found):
        return
    if (error := run.take_interrupt()) is not None:
        raise error


def _raise_in(thread: int | None, error: type[BaseException] | None) -> None:
    """Let a thread raise an error before its next line; None takes one back that it has not."""
    raised = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread or 0), raised)


def _bare(error: Interrupt) -> type[BaseException]:
    """Return a class whose instances are as this error: only a class can be thrown."""
    kind = type(error)

    class Thrown(kind):  # type: ignore[misc, valid-type] # the same class under the same name
        def __init__(self) -> None:
            super().__init__(*error.args)

    Thrown.__name__, Thrown.__qualname__ = kind.__name__, kind.__qualname__
    Thrown.__module__ = kind.__module__
    return Thrown
