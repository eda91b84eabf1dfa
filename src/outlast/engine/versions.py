"""Versions that nobody offers any more: after a grace their runs go on with the current one."""

from collections.abc import Callable

import msgspec

from outlast import clock
from outlast.engine.database import Database
from outlast.engine.liveness import SESSIONS
from outlast.engine.turn import Freeing, Item

GRACE_SECONDS = 60.0


class Absent(msgspec.Struct, frozen=True):
    """A version that queued runs need and no worker offers."""

    environment_id: str
    version_id: str


class Versions:
    """Watches for queued runs that no living worker could take because of their version."""

    def __init__(
        self,
        database: Database,
        *,
        submit: Callable[[str, Item], None],
        grace: float | None,
    ) -> None:
        self._database = database
        self._submit = submit
        self._grace = grace
        self._since: dict[Absent, float] = {}

    async def run_once(self) -> None:
        """Look once. A grace of None holds runs for ever."""
        absent = await self._database.fetch(Absent, SESSIONS.absent_versions)
        now = clock.boot_seconds()
        self._since = {one: self._since.get(one, now) for one in absent}
        for one, since in self._since.items():
            if self._grace is not None and now - since >= self._grace:
                self._submit(one.environment_id, Freeing(version=one.version_id))
