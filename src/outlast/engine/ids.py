"""New ids, ordered by the database's clock as far as a server knows it."""

import time

from outlast.engine.database import Database
from outlast.engine.errors import Unavailable
from outlast.engine.liveness import SESSIONS
from outlast.protocol import ids
from outlast.protocol.ids import Prefix


class Ids:
    """Makes ids; knows how far this machine's clock is off the database's."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._offset = 0.0

    async def learn(self) -> None:
        """Learn the database's clock. Raises `Unavailable`."""
        before = time.time()
        moment = await self._database.fetch_value(SESSIONS.milliseconds)
        if not isinstance(moment, int):
            raise Unavailable("the database does not tell the time")
        self._offset = moment / 1000 - (before + time.time()) / 2

    def milliseconds(self) -> int:
        """Return the database's clock."""
        return int((time.time() + self._offset) * 1000)

    def new(self, prefix: Prefix) -> str:
        """Return a new id."""
        return ids.new_id(prefix, self.milliseconds())
