"""Callers that wait for the end of a run, whichever server hears of it first."""

import asyncio
import contextlib
import time

from outlast.engine.runs import Runs

_POLL_SECONDS = 1.0


class Ends:
    """Wakes who waits for a run here; looks once a second for ends that another server heard."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def ended(self, run: str) -> None:
        """Hear of an end."""
        for event in self._waiting.get(run, ()):
            event.set()

    async def wait(self, environment: str, run: str, seconds: float) -> bool:
        """Wait until a run has ended, at most `seconds`; return whether it has."""
        event = asyncio.Event()
        self._waiting.setdefault(run, set()).add(event)
        deadline = time.monotonic() + seconds
        try:
            while True:
                if await self._runs.has_ended(environment, run):
                    return True
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, _POLL_SECONDS)):
                        await event.wait()
        finally:
            self._waiting[run].discard(event)
            if not self._waiting[run]:
                del self._waiting[run]
