"""What tests ask of an environment: what is under way, and what happens next if time passes."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from outlast.engine.claims import Place, claim_frame, load_claims, load_pasts
from outlast.engine.database import Database
from outlast.engine.errors import NotFound
from outlast.engine.queries import load
from outlast.protocol.messages import Claim

PROBE = load("probe")


class Executing(msgspec.Struct, frozen=True):
    """A run that a worker executes, or is about to."""

    run: str
    token: int


class TriggeredRun(msgspec.Struct, frozen=True):
    """A run as it was triggered; the payload is JSON text."""

    run: str
    task: str
    payload: str | None
    blob: str | None
    tags: tuple[str, ...]
    parent: str | None


class Probe:
    """Reads one environment; changes nothing, but for `forget`."""

    def __init__(self, database: Database, environment: str) -> None:
        self._database = database
        self._environment = environment

    async def next_due(self, *, timers_only: bool = False) -> datetime | None:
        """Return when the next timer or schedule is due; None: nothing waits for time."""
        found = await self._database.fetch_value(
            PROBE.next_due, environment=self._environment, timers_only=timers_only
        )
        assert found is None or isinstance(found, datetime)
        return found

    async def executing(self) -> list[Executing]:
        """Return the runs that a worker executes, or is about to, under their tokens."""
        return await self._database.fetch(Executing, PROBE.executing, environment=self._environment)

    async def has_news(self, awaited: Sequence[tuple[str, str]]) -> bool:
        """Say whether one of the entries, each a run and a key, has ended."""
        count = await self._database.fetch_value(
            PROBE.finished, runs=[run for run, _ in awaited], keys=[key for _, key in awaited]
        )
        return bool(count)

    async def triggered(self, task: str) -> list[TriggeredRun]:
        """Return the runs of a task, oldest first, with their payloads."""
        rows = await self._database.fetch(
            TriggeredRun, PROBE.triggered, environment=self._environment, task=task
        )
        return [await self._whole(row) for row in rows]

    async def record(self, run: str) -> Claim:
        """Return what a worker would need to go on with a run. Raises `NotFound`."""
        async with self._database.acquire() as executor:
            rows = await load_claims(executor, self._environment, [run])
            if run not in rows:
                raise NotFound(f"there is no run {run[:80]!r} in this environment")
            pasts = await load_pasts(executor, [run])
        return claim_frame(rows[run], "cold", Place(self._environment, "dev", ""), pasts[run])

    async def forget(self) -> None:
        """Delete everything of every environment: the database is as good as new."""
        await self._database.execute(PROBE.forget)

    async def _whole(self, row: TriggeredRun) -> TriggeredRun:
        if row.blob is None:
            return row
        data = await self._database.fetch_value(PROBE.blob, blob=row.blob)
        return msgspec.structs.replace(row, payload=str(data))
