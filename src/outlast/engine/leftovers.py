"""Leftovers: what belongs to no run, or to none any more, and holds nothing back.

Keys that nobody can use again, large payloads without a run, and lanes, paces and groups that a
turn makes anew when it needs them.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from outlast.engine.agents import in_portions
from outlast.engine.database import Database
from outlast.engine.queries import Statement, load
from outlast.protocol.ids import id_floor

RETENTION = load("retention")

REQUEST_SECONDS: Final = 2 * 86_400.0
"""Request keys guard against repeats of one call, which take seconds."""
OUTBOX_SECONDS: Final = 30 * 86_400.0
"""Those of an app's outbox guard it for as long as its relay may have stood still."""
_BLOB_MS = 86_400_000
"""Payloads are written before the turn that makes their run; a repeat takes minutes."""
_PORTION = 500


class _Key(msgspec.Struct, frozen=True):
    environment_id: str
    key: str
    task: str = ""


class _Lane(msgspec.Struct, frozen=True):
    id: int
    environment_id: str
    is_idle: bool


class _Named(msgspec.Struct, frozen=True):
    environment_id: str
    queue: str
    name: str
    is_idle: bool


class _Pruned(msgspec.Struct, frozen=True):
    is_done: bool


class Leftovers:
    """Deletes them, portion by portion."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime | None]) -> None:
        self._database = database
        self._clock = clock  # keys and paces live by durable time, as the turn reads them

    async def prune(self, moment: int | None = None) -> None:
        """Delete all there is now; `moment` as in `Retention.run_once`."""
        await self._keys(
            RETENTION.prune_requests,
            "key",
            seconds=REQUEST_SECONDS,
            outbox_seconds=OUTBOX_SECONDS,
        )
        await self._keys(RETENTION.prune_keys, "task", "key")
        await self._wait_keys()
        await self._blobs(moment)
        await self._lanes()
        await self._named(RETENTION.idle_paces, ("paced", "keys"), clock=self._clock())
        await self._named(RETENTION.idle_groups, ("grouped", "names"))

    async def _keys(self, statement: Statement, *parts: str, **values: object) -> None:
        """Walk keys in the order of a table's own key, which has these parts."""
        last = _Key("", "")

        async def portion() -> bool:
            nonlocal last
            found = await self._database.fetch_one(
                _Key,
                statement,
                environment=last.environment_id,
                clock=self._clock(),
                portion=_PORTION,
                **{part: getattr(last, part) for part in parts},
                **values,
            )
            last = found or last
            return found is not None

        await in_portions(portion)

    async def _wait_keys(self) -> None:
        async def portion() -> bool:
            gone = await self._database.execute(
                RETENTION.prune_wait_keys, clock=self._clock(), portion=_PORTION
            )
            return gone == _PORTION

        await in_portions(portion)

    async def _blobs(self, moment: int | None) -> None:
        if moment is None:
            found = await self._database.fetch_value(RETENTION.milliseconds)
            assert isinstance(found, int)
            moment = found
        before = id_floor("run", moment - _BLOB_MS).replace("run_", "blob_", 1)

        async def portion() -> bool:
            pruned = await self._database.fetch_one(
                _Pruned, RETENTION.prune_blobs, before=before, portion=_PORTION
            )
            assert pruned is not None
            return not pruned.is_done

        await in_portions(portion)

    async def _lanes(self) -> None:
        after = 0

        async def portion() -> bool:
            nonlocal after
            found = await self._database.fetch(
                _Lane, RETENTION.idle_lanes, after=after, portion=_PORTION
            )
            idle: dict[str, list[int]] = defaultdict(list)
            for lane in found:
                after = lane.id
                if lane.is_idle:
                    idle[lane.environment_id].append(lane.id)
            for environment, lanes in idle.items():
                await self._drop(environment, lanes=lanes)
            return len(found) == _PORTION

        await in_portions(portion)

    async def _named(
        self, statement: Statement, columns: tuple[str, str], **values: object
    ) -> None:
        last = _Named("", "", "", is_idle=False)

        async def portion() -> bool:
            nonlocal last
            found = await self._database.fetch(
                _Named,
                statement,
                environment=last.environment_id,
                queue=last.queue,
                name=last.name,
                portion=_PORTION,
                **values,
            )
            idle: dict[str, list[_Named]] = defaultdict(list)
            for row in found:
                last = row
                if row.is_idle:
                    idle[row.environment_id].append(row)
            for environment, rows in idle.items():
                queues, names = [row.queue for row in rows], [row.name for row in rows]
                await self._drop(environment, **dict(zip(columns, (queues, names), strict=True)))
            return len(found) == _PORTION

        await in_portions(portion)

    async def _drop(self, environment: str, **what: Sequence[object]) -> None:
        none: dict[str, Sequence[object]] = dict.fromkeys(
            ("lanes", "paced", "keys", "grouped", "names"), ()
        )
        await self._database.fetch_value(
            RETENTION.drop_idle, environment=environment, clock=self._clock(), **(none | what)
        )
