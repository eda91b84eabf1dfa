"""The limit of active time: a run that works longer than its `max_duration` is ended.

The net under everything that hangs without waiting for anything: a lost call, an endless loop.
"""

from collections.abc import Callable

import msgspec

from outlast.engine.database import Database
from outlast.engine.liveness import SESSIONS
from outlast.engine.turn import Item, Overtime

GRACE_SECONDS = 15.0
"""A run gets this much longer: its worker asks it to end, and kills it 5 s later."""


class _Overdue(msgspec.Struct, frozen=True):
    run_id: str
    token: int
    environment_id: str


class Limits:
    """Ends runs that exceed their active time. Safe on every server."""

    def __init__(self, database: Database, *, submit: Callable[[str, Item], None]) -> None:
        self._database = database
        self._submit = submit

    async def run_once(self, grace: float = GRACE_SECONDS) -> int:
        """Look once; return how many runs were too long."""
        rows = await self._database.fetch(_Overdue, SESSIONS.overdue, grace=grace)
        for row in rows:
            self._submit(row.environment_id, Overtime(run=row.run_id, token=row.token))
        return len(rows)
