"""The engine's agents: steps that repeat, small jobs on the side, long ones in portions."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine

from outlast.engine.errors import EngineError

logger = logging.getLogger(__name__)

Work = Coroutine[object, object, object]

_CALM_SECONDS = 10.0
_PAUSE_SECONDS = 0.02
_REST = 9.0
"""How much longer a pause is than the work before it: a tenth of one connection, at most."""


class Agents:
    """Owns the tasks of an engine that no caller waits for; ends them with it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def repeat(self, name: str, step: Callable[[], Work], seconds: float) -> None:
        """Run a step now and then, whatever a single one comes to."""
        self._add(asyncio.create_task(_every(name, step, seconds), name=name))

    def tidy(self, name: str, step: Callable[[], Work], seconds: float) -> None:
        """Repeat a step of housekeeping; the first leaves the server time to start."""
        self._add(asyncio.create_task(_every(name, step, seconds, _CALM_SECONDS), name=name))

    def once(self, work: Work) -> None:
        """Run something on the side; it may fail, somebody looks again later."""
        self._add(asyncio.create_task(_quietly(work)))

    async def close(self) -> None:
        """End them all."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _add(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _every(name: str, step: Callable[[], Work], seconds: float, after: float = 0.0) -> None:
    await asyncio.sleep(after)
    while True:
        try:
            await step()
        except EngineError as error:
            logger.warning("agent failed", extra={"agent": name, "why": str(error)})
        except Exception:
            logger.exception("agent failed", extra={"agent": name})
        await asyncio.sleep(seconds)


async def _quietly(work: Work) -> None:
    with contextlib.suppress(EngineError):
        await work


async def in_portions(portion: Callable[[], Awaitable[bool]]) -> None:
    """Do a portion as long as it says there is more, with pauses for those who are waited for."""
    while True:
        began = time.monotonic()
        if not await portion():
            return
        await asyncio.sleep(max(_PAUSE_SECONDS, (time.monotonic() - began) * _REST))
