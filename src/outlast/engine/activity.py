"""What tasks did, by the hour and the day: counted after runs have ended, outside every turn.

A server remembers which runs ended in its turns and adds them up every few seconds, by their keys.
What a server remembered when it was killed is not counted: these are statistics, not the truth.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal

from outlast.engine.database import Database
from outlast.engine.failures import Failures
from outlast.engine.queries import load
from outlast.protocol.activity import Tally
from outlast.protocol.statuses import Status

ACTIVITY = load("activity")

Span = Literal["hour", "day"]
KEPT_SECONDS: dict[Span, float] = {"hour": 15 * 86_400.0, "day": 400 * 86_400.0}
_PORTION = 5_000
_MOST_REMEMBERED = 500_000
_FAULTS = frozenset({Status.FAILED, Status.CRASHED, Status.SYSTEM_FAILURE, Status.TIMED_OUT})


class Activity:
    """Counts ended runs by task and time, and hands failed ones to `Failures`."""

    def __init__(
        self, database: Database, *, failures: Failures, clock: Callable[[], datetime | None]
    ) -> None:
        self._database = database
        self._failures = failures
        self._clock = clock
        self._ended: list[tuple[str, str, bool]] = []
        self._flushing = asyncio.Lock()

    def ended(self, environment: str, run: str, status: str) -> None:
        """Remember a run that ended; what does not fit while the database is away is left out."""
        if len(self._ended) < _MOST_REMEMBERED:
            self._ended.append((environment, run, status in _FAULTS))

    async def flush(self) -> None:
        """Add what ended; what cannot be written now is kept for the next time."""
        async with self._flushing:  # who comes second finds everything written, not taken
            while self._ended:
                taken, self._ended = self._ended[:_PORTION], self._ended[_PORTION:]
                try:
                    await self._add(taken)
                except BaseException:
                    self._ended = taken + self._ended
                    raise

    async def _add(self, ended: Sequence[tuple[str, str, bool]]) -> None:
        async with self._database.transaction() as executor:
            await executor.execute(
                ACTIVITY.add_ended,
                environments=[environment for environment, _, _ in ended],
                runs=[run for _, run, _ in ended],
            )
            faults = [(environment, run) for environment, run, is_fault in ended if is_fault]
            if faults:
                await self._failures.add(executor, faults)

    async def of_tasks(
        self, environment_id: str, span: Span, seconds: float, *, task: str | None = None
    ) -> list[Tally]:
        """Return what ended in the last `seconds`, by span and task, oldest first."""
        return await self._database.fetch(
            Tally,
            ACTIVITY.of_tasks,
            environment_id=environment_id,
            span=span,
            seconds=seconds,
            task=task,
            clock=self._clock(),
        )

    async def by_week(self, environment_id: str, weeks: int) -> list[Tally]:
        """Return what ended in the last weeks, the present one included, by week and task."""
        return await self._database.fetch(
            Tally,
            ACTIVITY.by_week,
            environment_id=environment_id,
            weeks=weeks,
            clock=self._clock(),
        )

    async def prune(self) -> None:
        """Delete a portion of what is too old."""
        for span, seconds in KEPT_SECONDS.items():
            await self._database.execute(ACTIVITY.prune, span=span, seconds=seconds)
        await self._failures.prune()
