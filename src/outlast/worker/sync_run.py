"""A run of a `def` task: the function on the main thread, its calls answered by the link's loop."""

import asyncio
import concurrent.futures
import contextvars
import queue
import signal
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Protocol, TypeVar

from outlast.protocol.messages import Call, Claim, Step
from outlast.protocol.outcomes import Outcome
from outlast.protocol.triggers import Triggered
from outlast.sdk import runtime
from outlast.sdk.errors import ForeignCallError, MaxDurationExceeded, RunInterrupted
from outlast.sdk.runtime import EntryKind
from outlast.sdk.task import Task
from outlast.worker.django import close_old_connections
from outlast.worker.ending import Ending
from outlast.worker.hands import SyncHands, play_through
from outlast.worker.host import Host
from outlast.worker.quiescence import Stillness
from outlast.worker.run import Run
from outlast.worker.scopes import Scope
from outlast.worker.slot import State

T = TypeVar("T")
OVERTIME_SIGNAL = signal.SIGUSR2
"""Reaches the main thread of an executor also in a call that blocks, such as `time.sleep`."""


class Jobs(Protocol):
    """Takes functions of users for the thread that executes them."""

    def put(self, job: Callable[[], None], /) -> None:
        """Execute a function as soon as that can be."""


def interrupt_on_signal() -> None:
    """Let the signal interrupt the function that the main thread executes. On that thread."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        run = runtime.current()
        if isinstance(run, SyncRun):
            run.raise_due()

    signal.signal(OVERTIME_SIGNAL, interrupt)


class SyncRun(Run):
    """A run of a plain function; implements `outlast.sdk.runtime.Runtime`."""

    def __init__(
        self, claim: Claim, token: int, task: Task[Any, Any], host: Host, *, jobs: Jobs
    ) -> None:
        super().__init__(claim, token, task, host)
        self._hands = SyncHands(self)
        self._stage = self._staged(self._hands)
        self._jobs = jobs
        self._blocks: list[queue.SimpleQueue[Callable[[], None] | None]] = []
        """Calls that block the function, the innermost last: each ends, or runs an errand."""
        self._user_thread: int | None = None
        self._inside: set[asyncio.Task[Any]] = set()
        """Calls of the function that block it at this moment."""
        self._interrupted = False
        self._calling = False
        """Whether the function of the user executes: only there it may be interrupted."""
        self._due: MaxDurationExceeded | None = None
        self._background: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin: the main thread calls the function as soon as the lease is fresh."""
        if self._host.may_begin():
            self._call_function()
        else:
            self._keep(self._begin())

    def cancel(self, reason: str) -> None:
        """Unwind the code: `RunInterrupted` where it waits, or at its next call.

        Hooks of an end go on.
        """
        self.cancel_reason = self.cancel_reason or reason
        self.signal.set(reason)
        if not self._stage.is_over:
            self._abort()

    def reserve(self, kind: EntryKind, name: str) -> str:
        """Return the next key of this kind and name in the caller's scope."""
        self._check_interrupted()
        return super().reserve(kind, name)

    def here(self) -> Scope:
        """Return the scope of the code that calls: the function, or the body of a step."""
        if (body := self.body()) is not None:
            return body[0]
        if threading.get_ident() != self._user_thread:
            raise ForeignCallError(
                f"a thread called for run {self.id}: what threads ask for comes in any order and "
                "cannot be replayed; make the call in the task itself, or let a step do the work "
                "of the thread and start it with contextvars.copy_context().run"
            )
        return self.root

    def note(self, step: Step, answered: Callable[[Any], None] | None = None) -> None:
        """Record a local entry before whatever the run says next."""
        if threading.get_ident() == self._thread:
            super().note(step, answered)
        else:
            self._loop.call_soon_threadsafe(super().note, step, answered)

    # The runtime that the SDK calls: blocking

    def recall_sync(
        self,
        key: str,
        kind: EntryKind,  # noqa: ARG002 - known since the key was reserved
        name: str,  # noqa: ARG002
        arguments: str,
    ) -> Outcome | None:
        """Return what the journal holds for a local entry; None: it is to be executed now."""
        return self.block(self.ask_step(key, arguments))

    def record_sync(
        self,
        key: str,
        kind: EntryKind,  # noqa: ARG002
        name: str,  # noqa: ARG002
        arguments: str,
        outcome: Outcome,
    ) -> Outcome:
        """Record the end of a local entry; return what the journal holds now."""
        return self.block(self.end_step(key, arguments, outcome))

    def resolve_sync(self, call: Call) -> Outcome:
        """Create a child, batch or wait and return its end."""
        outcome = self.block(self.call(call)).outcome
        assert outcome is not None
        return outcome

    async def in_thread(self, call: Callable[[], object]) -> object:
        """Make a call in a thread of the loop that the function runs itself."""
        return await asyncio.get_running_loop().run_in_executor(None, call)

    def trigger_sync(self, call: Call) -> tuple[Triggered, ...]:
        """Create runs that go their own way."""
        return self.block(self.call(call)).triggered

    def store_sync(self, *, refresh: bool = False) -> None:
        """Return when metadata and tags are stored."""
        self.block(self.stored(refresh=refresh))

    def appended_sync(self, most: int = 0) -> None:
        """Return when no more than so many characters of chunks are not stored."""
        self.block(self.reports.streams.stored(most))

    # And on a loop that the function has started itself

    async def recall(
        self,
        key: str,
        kind: EntryKind,  # noqa: ARG002
        name: str,  # noqa: ARG002
        arguments: str,
    ) -> Outcome | None:
        """Return what the journal holds for a local entry; None: it is to be executed now."""
        return await self._bridge(self.ask_step(key, arguments))

    async def record(
        self,
        key: str,
        kind: EntryKind,  # noqa: ARG002
        name: str,  # noqa: ARG002
        arguments: str,
        outcome: Outcome,
    ) -> Outcome:
        """Record the end of a local entry; return what the journal holds now."""
        return await self._bridge(self.end_step(key, arguments, outcome))

    async def resolve(self, call: Call) -> Outcome:
        """Create a child, batch or wait and return its end."""
        outcome = (await self._bridge(self.call(call))).outcome
        assert outcome is not None
        return outcome

    async def trigger(self, call: Call) -> tuple[Triggered, ...]:
        """Create runs that go their own way."""
        return (await self._bridge(self.call(call))).triggered

    async def store(self, *, refresh: bool = False) -> None:
        """Return when metadata and tags are stored."""
        await self._bridge(self.stored(refresh=refresh))

    async def appended(self, most: int = 0) -> None:
        """Return when no more than so many characters of chunks are not stored."""
        await self._bridge(self.reports.streams.stored(most))

    # Its life

    async def _begin(self) -> None:
        await self.admit()
        if self.state is not State.ENDED:
            self._call_function()

    def _call_function(self) -> None:
        self.entered()
        self._jobs.put(lambda: contextvars.Context().run(self._execute_function))

    def _execute_function(self) -> None:
        """Call the function; on the main thread."""
        self._user_thread = threading.get_ident()
        ending: Ending
        try:
            close_old_connections()
            with runtime.entered(self):
                ending = play_through(self._stage.play())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it fails this run only
            ending = error
        finally:
            close_old_connections()
            self._hands.close()
        self._loop.call_soon_threadsafe(self._returned, ending)

    def invoke(self, call: Callable[[], object]) -> object:
        """Call the function; only there it may be interrupted."""
        self._check_interrupted()
        self._calling = True
        try:
            return call()
        finally:
            self._calling = False

    def _errand(self, work: Coroutine[Any, Any, None]) -> None:
        """Hand work to the call that blocks the function: it waits on the right thread."""
        self._blocks[-1].put(lambda: play_through(work))

    def _returned(self, ending: Ending) -> None:
        if self.state is State.EXECUTING:
            self.finish_now(ending)
        else:
            self._keep(self.finish(ending))

    def _interrupt(self, error: MaxDurationExceeded) -> None:
        """Raise in the function: where it waits for a call, or wherever a signal reaches it."""
        self._due = error
        for call in self._inside:
            call.cancel()
        if self._user_thread is not None:
            signal.pthread_kill(self._user_thread, OVERTIME_SIGNAL)

    def raise_due(self) -> None:
        """Raise what interrupts the function, once. In its own thread."""
        if self._calling and self._due is not None:
            due, self._due = self._due, None
            raise due

    def _abort(self) -> None:
        for call in self._inside:
            call.cancel()

    def _look(self) -> Stillness:
        """Say whether the call that the function is in waits for an entry."""
        waiting = sum(item.waits for item in self._waiting)
        still = 0 < len(self._inside) == waiting
        return Stillness.STILL if still else Stillness.FOREIGN

    def block(self, call: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine of the executor's loop."""
        if threading.get_ident() == self._thread:
            call.close()
            raise ForeignCallError(f"run {self.id}: a blocking call from the executor's own thread")
        errands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._blocks.append(errands)  # before the loop can have an errand for it
        try:
            future = asyncio.run_coroutine_threadsafe(self._counted(call), self._loop)
            future.add_done_callback(lambda _: errands.put(None))
            while (errand := errands.get()) is not None:
                errand()
            return future.result()
        except concurrent.futures.CancelledError:
            self._check_interrupted()
            raise
        finally:
            self._blocks.pop()

    async def _counted(self, call: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        assert task is not None
        self._inside.add(task)
        try:
            return await call
        finally:
            self._inside.discard(task)

    async def _bridge(self, call: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self._loop))

    def _check_interrupted(self) -> None:
        if self.state is State.ENDED:
            raise self.over()
        self.raise_due()
        if self.cancel_reason is not None and not self._interrupted and not self._stage.is_over:
            # Once: what cleans up after it may still make its calls.
            self._interrupted = True
            raise RunInterrupted(f"run {self.id} was canceled: {self.cancel_reason}")

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work, context=contextvars.Context())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
