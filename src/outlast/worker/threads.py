"""The threads that plain functions run in, those of steps and of tasks: as few as keep up.

Handing every call to a thread of its own costs more than most calls do: threads of one interpreter
wake each other in vain. So one thread takes call after call, and gets help as soon as a call has
waited a moment, because those before it block.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Any, Final

MOST: Final = 64
"""Steps wait for others' answers most of the time; the usual number is a few threads per core."""
PATIENCE: Final = 0.002
"""Seconds that a call waits for a thread at work before another one is woken."""

_Call = Callable[[], object]
_Answer = tuple["asyncio.Future[Any]", object, BaseException | None]


class Threads:
    """Threads that serve one loop. Everything public is called on that loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, most: int = MOST, *, name: str = "step"
    ) -> None:
        self._loop = loop
        self._name = name
        self._most = most
        self._count = 0
        self._calls: deque[tuple[asyncio.Future[Any], _Call, float]] = deque()
        self._answers: deque[_Answer] = deque()
        self._resting: deque[threading.Lock] = deque()
        self._told = False
        self._look: asyncio.TimerHandle | None = None

    def run(self, call: _Call) -> "asyncio.Future[Any]":
        """Return a future of what a call in a thread returns or raises."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._calls.append((future, call, self._loop.time()))
        is_idle = len(self._resting) == self._count
        if not (is_idle and self._wake()) and self._look is None:
            self._look = self._loop.call_later(PATIENCE, self._help, context=Context())
        return future

    def _help(self) -> None:
        """Wake a thread for every call that has waited for long, and look again."""
        self._look = None
        late = self._loop.time() - PATIENCE
        waiting = list(self._calls)
        for _, _, since in waiting:
            if since > late or not self._wake():
                break
        if waiting:
            self._look = self._loop.call_later(PATIENCE, self._help, context=Context())

    def _wake(self) -> bool:
        try:
            self._resting.pop().release()
        except IndexError:
            if self._count >= self._most:
                return False
            name = f"{self._name}_{self._count + 1}"
            try:
                threading.Thread(target=self._work, name=name, daemon=True).start()
            except RuntimeError:  # the system has no more; one of ours will be free
                return False
            self._count += 1
        return True

    def _work(self) -> None:
        """Take calls as long as there are some, then rest; in a thread."""
        bell = threading.Lock()
        bell.acquire()
        while True:
            while self._calls:
                try:
                    future, call, _ = self._calls.popleft()
                except IndexError:  # another thread was faster
                    break
                if not future.cancelled():
                    self._answer(future, call)
                del future, call  # what a call holds is not kept while the thread rests
            self._resting.append(bell)
            # A call that came just now finds this thread at rest, or is found by the next look.
            bell.acquire()

    def _answer(self, future: "asyncio.Future[Any]", call: _Call) -> None:
        try:
            answer: _Answer = (future, call(), None)
        except StopIteration as error:  # no future can hold it
            raised = RuntimeError("the function raised StopIteration")
            raised.__cause__ = error
            answer = (future, None, raised)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller gets it
            answer = (future, None, error)
        self._answers.append(answer)
        if not self._told:
            self._told = True
            with suppress(RuntimeError):  # the loop has closed: nobody waits for the answer
                self._loop.call_soon_threadsafe(self._deliver, context=Context())

    def _deliver(self) -> None:
        self._told = False  # before taking: what comes from now on tells again
        while self._answers:
            future, value, error = self._answers.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
