"""Which workers live: heartbeats on disk, and the rescue of what dead sessions held.

Silence counts only while the database took heartbeats the whole time: after an outage, a failover,
a pause of this server or its start, no session is declared dead before one full lease. A socket
that was seen to close since then is no silence: its worker had a server to come back to.
"""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from outlast import clock
from outlast.engine.database import Database
from outlast.engine.errors import EngineError
from outlast.engine.queries import load
from outlast.engine.turn import Gone, Item, Rescue
from outlast.protocol.frames import LEASE_SECONDS
from outlast.protocol.vitals import Vitals

logger = logging.getLogger(__name__)

SESSIONS = load("sessions")
SOCKET_GRACE_SECONDS = 5.0
_GAP_SECONDS = 3.0  # a longer pause between two good sweeps is an outage of ours or the database's
_GATHER_SECONDS = 0.05


class _Id(msgspec.Struct, frozen=True):
    id: str


class _Lost(msgspec.Struct, frozen=True):
    id: str
    environment_id: str


class _LeftBehind(msgspec.Struct, frozen=True):
    run_id: str
    token: int
    environment_id: str
    handed_back: bool


class Beats:
    """Commits heartbeats of many sessions together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[str, list[asyncio.Future[bool]]] = {}
        self._vitals: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None

    async def beat(self, session: str, vitals: Vitals | None = None) -> bool:
        """Return when the heartbeat is committed; False: the session was declared lost."""
        if vitals is not None:
            self._vitals[session] = msgspec.json.encode(vitals).decode()
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(session, []).append(future)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="heartbeats")
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(_GATHER_SECONDS)
                waiting, self._waiting = self._waiting, {}
                await self._commit(waiting)
        finally:
            self._task = None

    async def _commit(self, waiting: dict[str, list["asyncio.Future[bool]"]]) -> None:
        try:
            taken, self._vitals = self._vitals, {}
            rows = await self._database.fetch(
                _Id,
                SESSIONS.beat,
                sessions=list(waiting),
                vitals=[taken.get(session) for session in waiting],
            )
        except EngineError as error:
            for future in (f for futures in waiting.values() for f in futures if not f.done()):
                future.set_exception(error)
            return
        alive = {row.id for row in rows}
        for session, futures in waiting.items():
            for future in futures:
                if not future.done():
                    future.set_result(session in alive)


class Sweep:
    """Declares silent sessions lost and gives what they held to the cycles. Any server may."""

    def __init__(self, database: Database, *, submit: Callable[[str, Item], None]) -> None:
        self._database = database
        self._submit = submit
        self._good_since = clock.boot_seconds()
        self._last_good = self._good_since

    async def run_once(self) -> int:
        """Sweep; return how many runs were given back. Raises when the database is away."""
        now = clock.boot_seconds()
        if now - self._last_good > _GAP_SECONDS:
            self._good_since = now
        await self._lose(now - self._good_since)
        count = await self._rescue()
        await self._database.execute(SESSIONS.bury)
        self._last_good = clock.boot_seconds()
        return count

    async def _lose(self, good: float) -> None:
        lost = await self._database.fetch(
            _Lost, SESSIONS.lose, good=good, lease=LEASE_SECONDS, grace=SOCKET_GRACE_SECONDS
        )
        for session in lost:
            logger.warning("session lost", extra={"session": session.id})

    async def _rescue(self) -> int:
        left = await self._database.fetch(_LeftBehind, SESSIONS.left_behind)
        for run in left:
            back = Gone if run.handed_back else Rescue
            self._submit(run.environment_id, back(run=run.run_id, token=run.token))
        return len(left)
