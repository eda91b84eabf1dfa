"""A thread that sees when user code blocks the loop, names it, and ends the process in the end.

It also looks at the threads of `def` runs, which block nobody but slow down all.
"""

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import Protocol

from outlast.protocol.frames import Frame, Kind, frame
from outlast.protocol.messages import Crash, Held
from outlast.protocol.outcomes import RunError
from outlast.worker import scopes
from outlast.worker.computing import Computing
from outlast.worker.run import Run
from outlast.worker.slot import State
from outlast.worker.whereabouts import line_of

SLOW_SECONDS = 1.0
"""A loop that has not turned for so long is named in the log."""
FATAL_SECONDS = 30.0
"""A loop that has not turned for so long ends its process."""
BLOCKED_STATUS = 70

_INTERVAL = 0.25

logger = logging.getLogger("outlast.worker")


class Watched(Protocol):
    """An executor, as its watchdog sees it."""

    @property
    def runs(self) -> Mapping[str, Run]:
        """The runs by id."""


class Sender(Protocol):
    """The pipe to the supervisor."""

    def send_now(self, *frames: Frame) -> None:
        """Send before returning, from any thread."""


class Watchdog:
    """Watches one loop from a thread of its own."""

    def __init__(
        self,
        executor: Watched,
        loop: asyncio.AbstractEventLoop,
        pipe: Sender,
        thread: int,
        *,
        slow: float = SLOW_SECONDS,
        fatal: float = FATAL_SECONDS,
    ) -> None:
        self._executor = executor
        self._loop = loop
        self._pipe = pipe
        self._thread = thread
        self._slow = slow
        self._fatal = fatal
        self._turned = threading.Event()
        self._computing = Computing(lambda: executor.runs)

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _watch(self) -> None:
        while True:
            self._turned.clear()
            try:
                self._loop.call_soon_threadsafe(self._turned.set)
            except RuntimeError:  # the loop is closed
                return
            if not self._turned.wait(self._slow):
                self._blocked(time.monotonic() - self._slow)
            self._computing.look()
            time.sleep(_INTERVAL)

    def _blocked(self, since: float) -> None:
        run, place = self._find()
        name = f"run {run.id} of task {run.task.id}" if run is not None else "no run in particular"
        logger.warning(
            "the loop of this executor has been blocked for %.1f s by %s at %s: every other run "
            "waits; use an async library, or asyncio.to_thread, or make the task a `def`",
            time.monotonic() - since,
            name,
            place,
        )
        if run is not None:
            run.reports.say("WARN", f"the code blocks the event loop at {place}")
        if not self._turned.wait(self._fatal - self._slow):
            self._end(run, *self._find())

    def _end(self, first: Run | None, run: Run | None, place: str) -> None:
        guilty = run or first
        held = list(self._executor.runs.values())
        error = RunError(
            "crashed",
            "BlockedLoop",
            f"the code blocked the event loop for {self._fatal:.0f} s at {place}; its process was "
            "ended",
        )
        crash = Crash(
            runs=tuple(Held(each.id, each.token) for each in held if not _is_parked(each)),
            guilty=guilty.id if guilty is not None else None,
            error=error,
            parked=tuple(Held(each.id, each.token) for each in held if _is_parked(each)),
        )
        self._pipe.send_now(frame(Kind.CRASH, crash))
        os._exit(BLOCKED_STATUS)

    def _find(self) -> tuple[Run | None, str]:
        """Return the run whose code executes and the line it is at."""
        outermost = sys._current_frames().get(self._thread)  # noqa: SLF001 - the documented way
        return self._running(), line_of(outermost)

    def _running(self) -> Run | None:
        try:
            task = asyncio.current_task(self._loop)
        except RuntimeError:
            return None
        coro = task.get_coro() if task is not None else None
        owner: object = coro.owner if isinstance(coro, scopes.Boundary) else None
        return owner if isinstance(owner, Run) else None


def _is_parked(run: Run) -> bool:
    return run.state is State.PARKED
