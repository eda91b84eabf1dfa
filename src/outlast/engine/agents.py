"""The engine's agents: steps that repeat on an interval, and small jobs on the side."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine

from outlast.engine.errors import EngineError

logger = logging.getLogger(__name__)

Work = Coroutine[object, object, object]


class Agents:
    """Owns the tasks of an engine that no caller waits for; ends them with it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def repeat(self, name: str, step: Callable[[], Work], seconds: float) -> None:
        """Run a step now and then, whatever a single one comes to."""
        self._add(asyncio.create_task(_every(name, step, seconds), name=name))

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


async def _every(name: str, step: Callable[[], Work], seconds: float) -> None:
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
