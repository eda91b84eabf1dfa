"""Service: something that runs in the background between `start` and `stop`, and nothing else."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


async def wound_up(*tasks: "asyncio.Task[None] | None", seconds: float) -> None:
    """Let tasks come to their end, for so many seconds together; cancel what has not by then."""
    there = {task for task in tasks if task is not None}
    if not there:
        return
    _, late = await asyncio.wait(there, timeout=seconds)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)


class Service(ABC):
    """A background agent: start it, wait until it has started, stop it.

    `start` and `stop` may be called in any order and any number of times; `stop` returns when
    nothing of the service runs any more. A service that failed raises its error from `stop`.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._started = asyncio.Event()

    @abstractmethod
    async def run(self) -> None:
        """Do the work until cancelled; call `ready` when others may rely on it."""

    def ready(self) -> None:
        """Say that the service has started."""
        self._started.set()

    async def start(self) -> None:
        """Run the service and return once it is ready. Raises what made it fail before that."""
        if self._task is None:
            self._task = asyncio.create_task(self.run(), name=type(self).__name__)
        await self.started()

    async def started(self) -> None:
        """Wait until the service is ready. Raises when it ends before."""
        task = self._task
        if task is None:
            raise RuntimeError(f"{type(self).__name__} was never started")
        waiting = asyncio.create_task(self._started.wait())
        try:
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not self._started.is_set():
            await task
            raise RuntimeError(f"{type(self).__name__} ended before it was ready")

    async def stop(self) -> None:
        """End the service and wait for it. A service that is not running is left alone."""
        task, self._task = self._task, None
        self._started.clear()
        if task is None:
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
