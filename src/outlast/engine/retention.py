"""Retention: ended runs older than an environment keeps them go, with everything that is theirs.

Portions in the order of the ids, each in a statement of its own, so that nobody waits for long; the
ids carry the time, so no index on time is needed. Safe on every server at once.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

import msgspec

from outlast.engine.database import Database
from outlast.engine.errors import InvalidRequest, NotFound
from outlast.engine.queries import load
from outlast.protocol.ids import id_floor

RETENTION = load("retention")

REQUEST_SECONDS = 2 * 86_400.0
"""Request keys guard against repeats of one call, which take seconds."""
OUTBOX_SECONDS = 30 * 86_400.0
"""Those of an app's outbox guard it for as long as its relay may have stood still."""
MOST_DAYS = 3_650
_PORTION = 500
_PAUSE_SECONDS = 0.02  # between portions, for those who wait for the disk


class Pruned(msgspec.Struct, frozen=True):
    """What one portion came to: the last run looked at, and how many went."""

    last: str | None
    looked: int
    pruned: int


class _Environment(msgspec.Struct, frozen=True):
    id: str
    days: int
    before: int


class _RequestKey(msgspec.Struct, frozen=True):
    environment_id: str
    key: str


class _IdempotencyKey(msgspec.Struct, frozen=True):
    environment_id: str
    task: str
    key: str


class Retention:
    """Deletes what is old. An environment without a number of days keeps its runs for ever."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime | None]) -> None:
        self._database = database
        self._clock = clock  # keys live by durable time, as the turn reads them

    async def keep(self, environment_id: str, days: int | None) -> None:
        """Keep ended runs of an environment for so many days; None: for ever."""
        if days is not None and not 1 <= days <= MOST_DAYS:
            raise InvalidRequest(f"runs are kept for 1 to {MOST_DAYS:,} days", param="days")
        if not await self._database.execute(RETENTION.keep, environment=environment_id, days=days):
            raise NotFound(f"there is no environment {environment_id!r}")

    async def run_once(self, before: int | None = None) -> int:
        """Delete everything that is too old now; return how many runs went.

        `before`: look at ids up to this moment (ms since the epoch) instead, for tests.
        """
        found = await self._database.fetch(_Environment, RETENTION.environments)
        gone = 0
        for environment in found:
            gone += await self._runs(environment, before or environment.before)
            await self._batches(environment, before or environment.before)
        await self._requests()
        await self._keys()
        await self._database.execute(RETENTION.prune_wait_keys, portion=_PORTION)
        return gone

    async def _runs(self, environment: _Environment, before: int) -> int:
        gone, after = 0, ""
        while True:
            portion = await self._database.fetch_one(
                Pruned,
                RETENTION.prune_runs,
                environment=environment.id,
                after=after,
                before=id_floor("run", before),
                ended_before=environment.before / 1000,
                portion=_PORTION,
            )
            if portion is None or portion.last is None:
                return gone
            gone += portion.pruned
            if portion.looked < _PORTION:
                return gone
            after = portion.last
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _batches(self, environment: _Environment, before: int) -> None:
        for statement, floor in (
            (RETENTION.prune_batches, id_floor("batch", before)),
            (RETENTION.prune_bulk_actions, id_floor("bulk", before)),
            (RETENTION.prune_waitpoints, id_floor("waitpoint", before)),
        ):
            while (  # noqa: ASYNC110 - a pause between portions of work, not a wait for something
                await self._database.execute(
                    statement, environment=environment.id, before=floor, portion=_PORTION
                )
                == _PORTION
            ):
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _requests(self) -> None:
        last: _RequestKey | None = _RequestKey("", "")
        while last is not None:
            last = await self._database.fetch_one(
                _RequestKey,
                RETENTION.prune_requests,
                environment=last.environment_id,
                key=last.key,
                seconds=REQUEST_SECONDS,
                outbox_seconds=OUTBOX_SECONDS,
                clock=self._clock(),
                portion=_PORTION,
            )
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _keys(self) -> None:
        last: _IdempotencyKey | None = _IdempotencyKey("", "", "")
        while last is not None:
            last = await self._database.fetch_one(
                _IdempotencyKey,
                RETENTION.prune_keys,
                environment=last.environment_id,
                task=last.task,
                key=last.key,
                clock=self._clock(),
                portion=_PORTION,
            )
            await asyncio.sleep(_PAUSE_SECONDS)
