"""A run of an `async def` task: asyncio tasks on the loop that the executor shares between runs."""

import asyncio
import concurrent.futures
import contextvars
import logging
import sys
import sysconfig
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from outlast.protocol.messages import Call, Claim
from outlast.protocol.outcomes import Outcome
from outlast.protocol.triggers import Triggered
from outlast.sdk import runtime
from outlast.sdk.errors import ForeignCallError, MaxDurationExceeded, UsageError
from outlast.sdk.runtime import EntryKind
from outlast.sdk.task import Task
from outlast.worker import django, scopes
from outlast.worker.ending import Ending
from outlast.worker.hands import AsyncHands, Kept
from outlast.worker.host import Host
from outlast.worker.quiescence import Stillness, all_ask, look
from outlast.worker.run import Run
from outlast.worker.scopes import Owner, Scope
from outlast.worker.slot import State

LEFTOVER_SECONDS = 10.0
"""How long a run waits for what its code left behind, once that is canceled."""

_LIBRARIES = tuple(
    {str(Path(sysconfig.get_path(name))) for name in ("purelib", "platlib", "stdlib")}
)

_SETTLED = Stillness.SETTLED

logger = logging.getLogger("outlast.worker")


class ExitedError(BaseException):
    """The code called `sys.exit()` or raised KeyboardInterrupt: the failure of its run only."""


class AsyncRun(Run, Owner):
    """A run of a coroutine function; implements `outlast.sdk.runtime.Runtime`."""

    def __init__(self, claim: Claim, token: int, task: Task[Any, Any], host: Host) -> None:
        super().__init__(claim, token, task, host)
        self._stage = self._staged(AsyncHands(self))
        self._variables: contextvars.Context | None = None
        self._main: asyncio.Task[Ending] | None = None
        self._tasks: dict[asyncio.Task[Any], Scope] = {}
        self._closing: asyncio.Task[None] | None = None
        self._due: MaxDurationExceeded | None = None

    def start(self) -> None:
        """Begin: the function is called as soon as the lease is fresh."""
        with runtime.entered(self):
            self._variables = contextvars.copy_context()
        self._main = self._loop.create_task(
            self._execute_function(), name=f"run {self.id}", context=self._variables
        )
        self._main.add_done_callback(self._returned)

    def cancel(self, reason: str) -> None:
        """Unwind the code: CancelledError at its next await. Hooks of an end go on."""
        self.cancel_reason = self.cancel_reason or reason
        self.signal.set(reason)
        if self._main is not None and not self._stage.is_over:
            self._main.cancel(reason)

    def keep(self, work: Kept) -> None:
        """Wait for something after everything else; on the loop it begins at once."""
        if isinstance(work, concurrent.futures.Future) or threading.get_ident() != self._thread:
            super().keep(work)
        else:
            super().keep(asyncio.ensure_future(work))

    def adopt(self, task: asyncio.Task[Any], coro: Coroutine[Any, Any, Any]) -> None:
        """Take in an asyncio task that was made in the run's context."""
        if self._main is None:
            self._tasks[task] = self.root  # the function itself: `_returned` follows it
            return
        parent = scopes.current_task(self._loop)
        within = self._tasks.get(parent, self.root) if parent is not None else self.root
        self._tasks[task] = within.child(scopes.name_of(coro))
        task.add_done_callback(self._task_done)

    @property
    def rests(self) -> bool:
        """Whether the run has given its slot back."""
        return self.slot.rests

    def stir(self) -> None:
        """Ask for the slot back: something from outside made the code go on."""
        self.slot.wake()

    def left(self, error: BaseException) -> BaseException:
        """Make the run fail of SystemExit or KeyboardInterrupt; return what is raised instead."""
        if self.lost is None:
            self.lost = error
        main = self._main
        if main is not None and asyncio.current_task(self._loop) is not main:
            main.cancel()
        return ExitedError(f"{type(error).__name__}: {error}")

    def here(self) -> Scope:
        """Return the scope of the code that calls: an asyncio task, or the body of a step."""
        if (body := self.body()) is not None:
            return body[0]
        if threading.get_ident() != self._thread:
            raise ForeignCallError(
                f"a thread called for run {self.id}: what threads ask for comes in any order and "
                "cannot be replayed; make the call in the task itself, or do the work of the "
                "thread in a step"
            )
        task = asyncio.current_task(self._loop)
        scope = self._tasks.get(task) if task is not None else None
        if scope is None:
            raise ForeignCallError(
                f"a callback, or a task unknown to run {self.id}, called for it; make the call in "
                "a task that the run created, and let loop.set_task_factory alone "
                "(wrap the factory that is set instead)"
            )
        return scope

    # The runtime that the SDK calls

    async def recall(
        self,
        key: str,
        kind: EntryKind,  # noqa: ARG002 - known since the key was reserved
        name: str,  # noqa: ARG002
        arguments: str,
    ) -> Outcome | None:
        """Return what the journal holds for a local entry; None: it is to be executed now."""
        return await self.ask_step(key, arguments)

    async def record(
        self,
        key: str,
        kind: EntryKind,  # noqa: ARG002
        name: str,  # noqa: ARG002
        arguments: str,
        outcome: Outcome,
    ) -> Outcome:
        """Record the end of a local entry; return what the journal holds now."""
        return await self.end_step(key, arguments, outcome)

    async def resolve(self, call: Call) -> Outcome:
        """Create a child, batch or wait and return its end."""
        item = await self.call(call)
        assert item.outcome is not None
        return item.outcome

    async def trigger(self, call: Call) -> tuple[Triggered, ...]:
        """Create runs that go their own way."""
        return (await self.call(call)).triggered

    async def in_thread(self, call: Callable[[], object]) -> object:
        """Make a call in a thread; the loop goes on meanwhile."""
        return await self._host.threads.run(call)

    def trigger_sync(self, call: Call) -> tuple[Triggered, ...]:
        """Create runs from the thread of a sync step; on the loop a typed error."""
        if threading.get_ident() == self._thread:
            raise self._blocking("trigger_sync", "trigger")
        return asyncio.run_coroutine_threadsafe(self.trigger(call), self._loop).result()

    def resolve_sync(self, call: Call) -> Outcome:
        """Refuse: it would block the other runs of the executor."""
        raise self._blocking(f"the `_sync` form of {call.key}", "its async form")

    def recall_sync(
        self,
        key: str,  # noqa: ARG002
        kind: EntryKind,  # noqa: ARG002
        name: str,
        arguments: str,  # noqa: ARG002
    ) -> Outcome | None:
        """Refuse: it would block the other runs of the executor."""
        raise self._blocking(f"step_sync({name!r})", f"step({name!r})")

    def record_sync(
        self,
        key: str,  # noqa: ARG002
        kind: EntryKind,  # noqa: ARG002
        name: str,
        arguments: str,  # noqa: ARG002
        outcome: Outcome,  # noqa: ARG002
    ) -> Outcome:
        """Refuse: it would block the other runs of the executor."""
        raise self._blocking(f"step_sync({name!r})", f"step({name!r})")

    async def store(self, *, refresh: bool = False) -> None:
        """Return when metadata and tags are stored."""
        await self.stored(refresh=refresh)

    def store_sync(self, *, refresh: bool = False) -> None:
        """Wait in the thread of a sync step; on the loop a typed error."""
        if threading.get_ident() == self._thread:
            raise self._blocking("metadata.flush_sync", "metadata.flush")
        asyncio.run_coroutine_threadsafe(self.stored(refresh=refresh), self._loop).result()

    async def appended(self, most: int = 0) -> None:
        """Return when no more than so many characters of chunks are not stored."""
        await self.reports.streams.stored(most)

    def appended_sync(self, most: int = 0) -> None:
        """Wait in the thread of a sync step; on the loop a typed error."""
        if threading.get_ident() == self._thread:
            raise self._blocking("the `_sync` form of a stream's write", "its async form")
        asyncio.run_coroutine_threadsafe(self.appended(most), self._loop).result()

    # Its life

    async def _execute_function(self) -> Ending:
        if not self._host.may_begin():
            await self.admit()
        self.entered()
        playing = self._stage.play()
        return await (django.in_own_thread(playing) if django.is_used() else playing)

    def _errand(self, work: Coroutine[Any, Any, None]) -> None:
        self._loop.create_task(work, name=f"hook of run {self.id}", context=self._variables)

    def _returned(self, main: asyncio.Task[Ending]) -> None:
        self._task_done(main)
        if main.cancelled():
            ending: Ending = asyncio.CancelledError("the task canceled itself")
        else:
            ending = main.exception() or main.result()
        if self.state is State.EXECUTING and not self._tasks:
            self.finish_now(ending)
        elif self.state is not State.ENDED:
            self._closing = self._loop.create_task(
                self._close(ending), context=contextvars.Context()
            )

    async def _close(self, ending: Ending) -> None:
        """End what the code left behind, then the run."""
        left = {task for task in self._tasks if not task.done() and not _is_library(task)}
        if left:
            names = ", ".join(sorted(task.get_name() for task in left))
            logger.warning(
                "run %s returned while tasks of it were running (%s); they are canceled: "
                "await them, or use a TaskGroup",
                self.id,
                names,
            )
            self.reports.say("WARN", f"canceled what the task left behind: {names}")
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=LEFTOVER_SECONDS)
        await self.finish(ending)

    def _interrupt(self, error: MaxDurationExceeded) -> None:
        """Cancel the function; `instead` makes of it what it is."""
        if self._main is not None and not self._stage.is_over:
            self._due = error
            self._main.cancel()

    def instead(self, boundary: scopes.Boundary) -> BaseException | None:
        """Return what is raised in place of the CancelledError that a task is about to get."""
        main = self._main
        if self._due is None or main is None or main.get_coro() is not boundary:
            return None
        due, self._due = self._due, None
        main.uncancel()
        return due

    def _abort(self) -> None:
        for task in list(self._tasks):
            if not task.done() and not _is_library(task):
                task.cancel()

    def _look(self) -> Stillness:
        if not self.steps and all_ask(self._tasks):
            return _SETTLED
        stillness = look(self._tasks, self._tasks.__contains__)
        if self.steps and stillness is Stillness.STILL:
            return Stillness.FOREIGN
        return stillness

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if self._waiting:
            self.settling.kick()

    def _blocking(self, call: str, instead: str) -> UsageError:
        return UsageError(
            f"{call} in run {self.id} would block every run of this executor; "
            f"the task is `async def`: await {instead}"
        )


def _is_library(task: asyncio.Task[Any]) -> bool:
    """Say whether a library made the task: it may serve a client that other runs share."""
    coro: Any = task.get_coro()
    code = getattr(scopes.inner(coro), "cr_code", None)
    if code is None or "/outlast/" in code.co_filename:
        return False
    return bool(code.co_filename.startswith((*_LIBRARIES, sys.prefix)))
