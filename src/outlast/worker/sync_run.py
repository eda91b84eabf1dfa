"""A run of a `def` task: the function in its thread, its calls answered by the executor's loop."""

import asyncio
import concurrent.futures
import contextvars
import logging
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from outlast.protocol.messages import Call, Claim, Step
from outlast.protocol.outcomes import Outcome
from outlast.protocol.triggers import Triggered
from outlast.sdk import runtime
from outlast.sdk.errors import ForeignCallError, Interrupt, MaxDurationExceeded, RunInterrupted
from outlast.sdk.runtime import EntryKind
from outlast.sdk.task import Task
from outlast.worker.django import close_old_connections
from outlast.worker.ending import Ending
from outlast.worker.function_threads import FunctionThread, FunctionThreads
from outlast.worker.hands import SyncHands, play_through
from outlast.worker.host import Host
from outlast.worker.quiescence import Stillness
from outlast.worker.run import Run
from outlast.worker.scopes import Scope
from outlast.worker.slot import State
from outlast.worker.whereabouts import line_of

T = TypeVar("T")
_PRESS_SECONDS = 0.05
"""How often an interrupt is tried while the function stands where it cannot take one."""
LEFT_SECONDS = 30.0
"""How long a thread may go on for a run that is not here any more, until its executor leaves."""

logger = logging.getLogger("outlast.worker")


class SyncRun(Run):
    """A run of a plain function; implements `outlast.sdk.runtime.Runtime`."""

    def __init__(
        self,
        claim: Claim,
        token: int,
        task: Task[Any, Any],
        host: Host,
        *,
        threads: FunctionThreads,
    ) -> None:
        super().__init__(claim, token, task, host)
        self._hands = SyncHands(self)
        self._stage = self._staged(self._hands)
        self.function_thread = FunctionThread()
        self._threads = threads
        self._blocks: list[queue.SimpleQueue[Callable[[], None] | None]] = []
        """Calls that block the function, the innermost last: each ends, or runs an errand."""
        self._inside: set[asyncio.Task[Any]] = set()
        """Calls of the function that block it at this moment."""
        self._interrupted = False
        self._due: Interrupt | None = None
        self._pressing: asyncio.TimerHandle | None = None
        self._background: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin: its thread calls the function as soon as the lease is fresh."""
        if self._host.may_begin():
            self._call_function()
        else:
            self._keep(self._begin())

    def cancel(self, reason: str) -> None:
        """Unwind the code: `RunInterrupted` where it waits or executes. Hooks of an end go on."""
        self.cancel_reason = self.cancel_reason or reason
        self.signal.set(reason)
        if not self._stage.is_over:
            self._abort()
            self._press()

    def drop(self) -> None:
        """Stop without a word; a thread cannot be ended, so it is asked to and watched."""
        super().drop()
        if not self.function_thread.is_over:
            self._due = RunInterrupted(f"run {self.id} is not this worker's any more")
            self._press()
            self._loop.call_later(LEFT_SECONDS, self._left_behind)

    def reserve(self, kind: EntryKind, name: str) -> str:
        """Return the next key of this kind and name in the caller's scope."""
        self._check_interrupted()
        return super().reserve(kind, name)

    def here(self) -> Scope:
        """Return the scope of the code that calls: the function, or the body of a step."""
        if (body := self.body()) is not None:
            return body[0]
        if threading.get_ident() != self.function_thread.id:
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
        self._threads.put(lambda: contextvars.Context().run(self._execute_function))

    def _execute_function(self) -> None:
        """Call the function; in its thread."""
        self.function_thread.begin()
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
        self.function_thread.is_over = True
        self._loop.call_soon_threadsafe(self._returned, ending)

    def invoke(self, call: Callable[[], object]) -> object:
        """Call the function; only there it may be interrupted."""
        self._check_interrupted()
        return self.function_thread.call(call)

    def _errand(self, work: Coroutine[Any, Any, None]) -> None:
        """Hand work to the call that blocks the function: it waits on the right thread."""
        self._blocks[-1].put(lambda: play_through(work))

    def _returned(self, ending: Ending) -> None:
        if self.state is State.EXECUTING:
            self.finish_now(ending)
        else:
            self._keep(self.finish(ending))

    def _interrupt(self, error: MaxDurationExceeded) -> None:
        """Raise in the function: where it waits for a call, or wherever its thread executes."""
        self._due = error
        self._abort()
        self._press()

    def take_interrupt(self) -> Interrupt | None:
        """Return what is to be raised in the function, once."""
        if self._due is not None:
            due, self._due = self._due, None
            return due
        if self._is_canceled():
            # Once: what cleans up after it may still make its calls.
            self._interrupted = True
            return RunInterrupted(f"run {self.id} was canceled: {self.cancel_reason}")
        return None

    def _is_canceled(self) -> bool:
        return self.cancel_reason is not None and not (self._interrupted or self._stage.is_over)

    def _press(self) -> None:
        """Interrupt the function, again and again until it stands where it can be."""
        if self._pressing is not None:
            self._pressing.cancel()
        self._pressing = None
        if self.function_thread.is_over or not (self._due or self._is_canceled()):
            return
        if self.function_thread.inside:
            self._threads.interrupt(self)
        self._pressing = self._loop.call_later(
            _PRESS_SECONDS, self._press, context=contextvars.Context()
        )

    def _left_behind(self) -> None:
        """Give up the process with a thread that goes on for nobody."""
        thread = self.function_thread
        if not thread.is_over:
            place = line_of(thread.frame())
            logger.warning(
                "the thread of run %s of task %s does not end, at %s; its executor is replaced, "
                "and ends once its other runs have reached an entry",
                self.id,
                self.task.id,
                place,
            )
            self._host.retire(f"a thread does not end, at {place}")

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
        if self.function_thread.inside or self._is_canceled():
            due = self.take_interrupt()
            if due is not None:
                raise due

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work, context=contextvars.Context())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
