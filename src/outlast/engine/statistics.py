"""What queues did, minute by minute: counted in memory from claims, added up every few seconds.

Nothing here looks at runs: a statistic costs the same at one queued run and at a million.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from outlast.engine.claims import Claimed
from outlast.engine.database import Database
from outlast.engine.queries import load
from outlast.engine.turn import Telling

QUEUES = load("queues")

KEPT_SECONDS = 7 * 86_400.0
_FIRST_BOUND = 0.001
_FACTOR = 1.25
BOUNDS = tuple(_FIRST_BOUND * _FACTOR**step for step in range(96))
"""Upper bounds, in seconds, of the sizes that waits are counted by: 1 ms to 19 days."""


class Minute(msgspec.Struct, frozen=True):
    """A queue in one minute: highest depths, runs started, and how long they had waited."""

    minute: datetime
    queued: int
    running: int
    started: int
    waits: list[int]


class _Sample(msgspec.Struct, frozen=True):
    environment_id: str
    queue: str
    queued: int
    running: int
    minute: datetime


class _Counted(msgspec.Struct):
    waits: list[int]
    queued: int = 0
    running: int = 0


class Statistics:
    """Counts starts on this server and adds them to the database now and then."""

    def __init__(
        self,
        database: Database,
        *,
        environments: Callable[[], Sequence[str]],
        clock: Callable[[], datetime | None],
    ) -> None:
        self._database = database
        self._environments = environments
        self._clock = clock
        self._counted: dict[tuple[str, str, datetime], _Counted] = {}

    def started(
        self, environment: str, claims: Sequence[Telling], rows: Mapping[str, Claimed]
    ) -> None:
        """Count the first starts among claims; going on and further attempts are none."""
        for claim in claims:
            row = rows.get(claim.run or "")
            if row is None or claim.resume != "fresh" or row.attempt > 1 or row.started_at is None:
                continue
            queued_at = max(row.created_at, row.delay_until or row.created_at)
            wait = (row.started_at - queued_at).total_seconds()
            minute = row.started_at.replace(second=0, microsecond=0)
            self._of(environment, row.queue, minute).waits[_place(wait)] += 1

    async def flush(self) -> None:
        """Add what was counted; what cannot be written now is kept for the next time."""
        sampled = await self._database.fetch(
            _Sample, QUEUES.sample, environments=list(self._environments()), clock=self._clock()
        )
        for sample in sampled:
            deepest = self._of(sample.environment_id, sample.queue, sample.minute)
            deepest.queued = max(deepest.queued, sample.queued)
            deepest.running = max(deepest.running, sample.running)
        taken, self._counted = self._counted, {}
        try:
            await self._add(taken)
        except BaseException:
            for key, one in taken.items():
                kept = self._of(*key)
                kept.waits = _sum(kept.waits, one.waits)
                kept.queued = max(kept.queued, one.queued)
                kept.running = max(kept.running, one.running)
            raise

    async def _add(self, counted: dict[tuple[str, str, datetime], _Counted]) -> None:
        if not counted:
            return
        await self._database.execute(
            QUEUES.add_minutes,
            environments=[environment for environment, _, _ in counted],
            queues=[queue for _, queue, _ in counted],
            minutes=[minute for _, _, minute in counted],
            queued=[one.queued for one in counted.values()],
            running=[one.running for one in counted.values()],
            started=[sum(one.waits) for one in counted.values()],
            waits=[",".join(map(str, one.waits)) for one in counted.values()],
        )

    async def minutes(self, environment_id: str, queue: str, seconds: float) -> list[Minute]:
        """Return the minutes of the last `seconds` in which the queue had work, oldest first."""
        return await self._database.fetch(
            Minute,
            QUEUES.list_minutes,
            environment_id=environment_id,
            name=queue,
            seconds=seconds,
            clock=self._clock(),
        )

    async def prune(self) -> None:
        """Delete a portion of what is older than a week."""
        await self._database.execute(QUEUES.prune_minutes, seconds=KEPT_SECONDS)

    def _of(self, environment: str, queue: str, minute: datetime) -> _Counted:
        key = (environment, queue, minute.astimezone(UTC))
        found = self._counted.get(key)
        if found is None:
            found = self._counted[key] = _Counted([0] * len(BOUNDS))
        return found


def percentile(minutes: Sequence[Minute], share: float) -> float | None:
    """Return the seconds that this share of the starts waited at most; None without a start."""
    waits = [0] * len(BOUNDS)
    for minute in minutes:
        waits = _sum(waits, minute.waits)
    wanted = share * sum(waits)
    if not wanted:
        return None
    for bound, reached in zip(BOUNDS, itertools.accumulate(waits), strict=True):
        if reached >= wanted:
            return bound
    return BOUNDS[-1]


def _place(wait: float) -> int:
    return next((place for place, bound in enumerate(BOUNDS) if wait <= bound), len(BOUNDS) - 1)


def _sum(one: Sequence[int], other: Sequence[int]) -> list[int]:
    return [a + b for a, b in zip(one, other, strict=True)]
