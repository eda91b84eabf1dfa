"""Retention: what has ended goes after as many days as its environment keeps it.

Everything counts from a run's end, and goes in portions of few rows with a pause behind each, so
that nobody waits for it. One server at a time deletes of one environment; the others pass it over.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from outlast.engine.agents import in_portions
from outlast.engine.database import Database
from outlast.engine.errors import Conflict, InvalidRequest, NotFound
from outlast.engine.leftovers import Leftovers
from outlast.engine.queries import Statement, load
from outlast.protocol.ids import id_floor

RETENTION = load("retention")

MOST_DAYS = 3_650
_DAY_MS = 86_400_000
_PORTION = 1_000
_MOST_ROWS = 2_000  # of one statement, beyond what each run has at least

Part = Literal["logs", "streams"]


class Kept(msgspec.Struct, frozen=True):
    """For how many days after a run's end what is kept. None: runs for ever, parts as the run."""

    runs: int | None
    logs: int | None
    streams: int | None


IN_DEV: Final = Kept(runs=7, logs=7, streams=7)
ELSEWHERE: Final = Kept(runs=30, logs=7, streams=28)


class _Pruned(msgspec.Struct, frozen=True):
    """What one portion came to: the last run looked at, and how many went."""

    last: str | None
    looked: int
    pruned: int
    is_done: bool


class _Environment(msgspec.Struct, frozen=True):
    id: str
    runs: int | None
    logs: int | None
    streams: int | None
    now: int

    def part(self, part: Part) -> int | None:
        """Return the days of what goes before its run; None: it goes with the run."""
        days = self.logs if part == "logs" else self.streams
        return None if days is None or (self.runs is not None and self.runs <= days) else days


class Retention:
    """Deletes what is old, and single runs when somebody asks for it."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime | None]) -> None:
        self._database = database
        self._leftovers = Leftovers(database, clock=clock)

    # ── how long ──────────────────────────────────────────────────────────────────────────────

    async def keep(
        self,
        environment_id: str,
        *,
        runs: int | UnsetType | None = UNSET,
        logs: int | UnsetType | None = UNSET,
        streams: int | UnsetType | None = UNSET,
    ) -> None:
        """Keep what has ended for so many days, None: for ever; what is not given stays as it is.

        Raises `InvalidRequest`, `NotFound`.
        """
        said = {"runs": runs, "logs": logs, "streams": streams}
        given = {name: days for name, days in said.items() if not isinstance(days, UnsetType)}
        for name, days in given.items():
            if days is not None and not 1 <= days <= MOST_DAYS:
                raise InvalidRequest(f"{name} are kept for 1 to {MOST_DAYS:,} days", param=name)
        if not await self._database.execute(
            RETENTION.keep,
            environment=environment_id,
            **{name: given.get(name) for name in said},
            **{f"sets_{name}": name in given for name in said},
        ):
            raise NotFound(f"there is no environment {environment_id!r}")

    async def kept(self, environment_id: str) -> Kept:
        """Return how long an environment keeps what. Raises `NotFound`."""
        found = await self._database.fetch_one(Kept, RETENTION.kept, environment=environment_id)
        if found is None:
            raise NotFound(f"there is no environment {environment_id!r}")
        return found

    # ── one run ───────────────────────────────────────────────────────────────────────────────

    async def delete(self, environment_id: str, run: str) -> None:
        """Delete an ended run with all that is its own; its children stay.

        Its idempotency key is free again. Raises `NotFound`, `Conflict` when it has not ended or
        its parent still needs it.
        """
        said = "more"
        while said == "more":
            said = str(
                await self._database.fetch_value(
                    RETENTION.erase_run, environment=environment_id, run=run, most=_MOST_ROWS
                )
            )
        if said == "unknown":
            raise NotFound(f"there is no run {run[:80]!r} in this environment")
        if said == "open":
            raise Conflict(
                f"run {run} has not ended, so it is not deleted; cancel it first",
                code="run_not_ended",
            )
        if said == "needed":
            raise Conflict(
                f"run {run} is not deleted: a run that has not ended triggered it or waits for its"
                " batch; cancel that one first, or wait for its end",
                code="run_needed",
            )

    # ── everything ────────────────────────────────────────────────────────────────────────────

    async def run_once(self, moment: int | None = None) -> int:
        """Delete everything that is too old now; return how many runs went.

        `moment`: what the ids are compared with (ms since the epoch) instead of now, for tests.
        """
        gone = 0
        for environment in await self._database.fetch(_Environment, RETENTION.environments):
            now = moment or environment.now
            if environment.runs is not None:
                gone += await self._runs(environment, now - environment.runs * _DAY_MS)
                await self._beside_runs(environment, now)
            for part in ("logs", "streams"):
                await self._parts(environment, part, now)
        await self._leftovers.prune(moment)
        return gone

    async def _runs(self, environment: _Environment, before: int) -> int:
        gone, after = 0, ""

        async def portion() -> bool:
            nonlocal gone, after
            pruned = await self._database.fetch_one(
                _Pruned,
                RETENTION.prune_runs,
                environment=environment.id,
                after=after,
                before=id_floor("run", before),
                ended_before=_ended_before(environment, environment.runs),
                portion=_PORTION,
                most=_MOST_ROWS,
            )
            assert pruned is not None
            gone += pruned.pruned
            after = pruned.last or after
            return not pruned.is_done

        await in_portions(portion)
        return gone

    async def _parts(self, environment: _Environment, part: Part, now: int) -> None:
        days = environment.part(part)
        if days is None:
            return
        for is_late in (True, False):
            after = ""

            async def portion(is_late: bool = is_late, days: int = days) -> bool:
                nonlocal after
                pruned = await self._database.fetch_one(
                    _Pruned,
                    RETENTION.prune_parts,
                    environment=environment.id,
                    kind=part,
                    is_late=is_late,
                    after=after,
                    before=id_floor("run", now - days * _DAY_MS),
                    ended_before=_ended_before(environment, days),
                    portion=_PORTION,
                    most=_MOST_ROWS,
                )
                assert pruned is not None
                after = pruned.last or after
                return not pruned.is_done

            await in_portions(portion)

    async def _beside_runs(self, environment: _Environment, now: int) -> None:
        """Delete batches, bulk actions and tokens by the days of runs."""
        assert environment.runs is not None
        before = now - environment.runs * _DAY_MS
        age = {"ended_before": _ended_before(environment, environment.runs)}
        for statement, floor, more in (
            (RETENTION.prune_batches, id_floor("batch", before), {}),
            (RETENTION.prune_bulk_actions, id_floor("bulk", before), {}),
            (RETENTION.prune_waitpoints, id_floor("waitpoint", before), age),
        ):

            async def portion(
                statement: Statement = statement, floor: str = floor, more: dict[str, float] = more
            ) -> bool:
                return (
                    await self._database.execute(
                        statement,
                        environment=environment.id,
                        before=floor,
                        portion=_PORTION,
                        **more,
                    )
                    == _PORTION
                )

            await in_portions(portion)


def _ended_before(environment: _Environment, days: int | None) -> float:
    return environment.now / 1000 - (days or 0) * 86_400.0
