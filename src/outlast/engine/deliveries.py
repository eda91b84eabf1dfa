"""Alerts on their way: what is due is taken, sent, and forgotten or tried again.

At least once: a server that dies while it sends leaves what it took to others. How something is
sent is not known here; a server brings it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import msgspec

from outlast.engine.alerts import ALERTS, Alerts, Destination, Sealed
from outlast.engine.database import Database
from outlast.engine.errors import EngineError
from outlast.protocol.alerts import AlertType

logger = logging.getLogger(__name__)

SEND_SECONDS = 10.0
"""No attempt of a server lasts longer."""
MOST_SINGLE = 100
"""So many are told one by one; what happens while they wait is counted and told as one."""
FIRST_SECONDS = 10.0
LONGEST_SECONDS = 3600.0
PATIENCE_SECONDS = 86_400.0
_LEASE_SECONDS = 60.0
_EACH = 5
_ROOM = 50
_MAX_ERROR_CHARS = 300


class Undelivered(Exception):  # noqa: N818 - it is tried again
    """It did not arrive; the message says why, without the address."""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to tell. `count` is more than one where others like it are told with it."""

    id: str
    """The same each time that it is tried."""
    environment_id: str
    type: AlertType
    subject: str
    detail: str
    occurred_at: datetime
    count: int = 1
    destination: Destination


Send = Callable[[Notice], Awaitable[bool]]
"""Sends a notice; False: what it is about is gone. Raises `Undelivered`."""


class _Due(Sealed, frozen=True):
    id: int
    alert_id: str
    environment_id: str
    type: AlertType
    subject: str
    detail: str
    occurred_at: datetime
    folded: int | None

    @property
    def name_of_event(self) -> str:
        if self.folded is None:
            return f"event_{self.id}"
        return f"event_{self.id}_{int(self.occurred_at.timestamp() * 1000)}"  # it grows meanwhile


class Deliveries:
    """What a server sends for alerts; of each alert a few at once, so that none waits for another.

    `clock` is the durable time of tests.
    """

    def __init__(
        self,
        database: Database,
        *,
        alerts: Alerts,
        send: Send,
        clock: Callable[[], datetime | None],
    ) -> None:
        self._database = database
        self._alerts = alerts
        self._send = send
        self._clock = clock
        self._sending: dict[str, asyncio.Task[None]] = {}

    async def run_once(self) -> None:
        """Take what is due and begin to send it."""
        rows = await self._database.fetch(
            _Due,
            ALERTS.take,
            busy=list(self._sending),
            each=_EACH,
            room=_ROOM,
            lease=_LEASE_SECONDS,
            clock=self._clock(),
        )
        if not rows:
            return
        taken: dict[str, list[_Due]] = {}
        for row in sorted(rows, key=lambda one: one.id):
            taken.setdefault(row.alert_id, []).append(row)
        for alert_id, due in taken.items():
            self._sending[alert_id] = asyncio.create_task(self._tell(alert_id, due))
        await self._database.execute(ALERTS.fold, most=MOST_SINGLE)

    async def settle(self) -> None:
        """Wait until what was taken has been sent, or not."""
        await asyncio.gather(*self._sending.values(), return_exceptions=True)

    async def close(self) -> None:
        """Stop; what was being sent is sent by others, perhaps once more."""
        for task in self._sending.values():
            task.cancel()
        await self.settle()

    async def prune(self) -> None:
        """Forget what was noted for alerts that are gone."""
        await self._database.execute(ALERTS.prune)

    async def _tell(self, alert_id: str, due: Sequence[_Due]) -> None:
        try:
            ends = await asyncio.gather(*map(self._attempt, due), return_exceptions=True)
        finally:
            del self._sending[alert_id]
        for error in filter(None, ends):  # the lease brings them back
            logger.warning("an alert was not noted as sent", extra={"why": str(error)})

    async def _attempt(self, due: _Due) -> None:
        try:
            was_told = await self._send(self._notice(due))
        except (Undelivered, EngineError) as error:
            await self._postpone(due, str(error))
            return
        except Exception as error:  # it must not come back for ever
            logger.exception("an alert cannot be told", extra={"alert": due.alert_id})
            await self._postpone(due, f"this server cannot tell it: {type(error).__name__}")
            return
        await self._database.execute(
            ALERTS.delivered,
            id=due.id,
            alert_id=due.alert_id,
            folded=due.folded or 0,
            was_told=was_told,
            clock=self._clock(),
        )

    async def _postpone(self, due: _Due, why: str) -> None:
        await self._database.execute(
            ALERTS.postpone,
            id=due.id,
            alert_id=due.alert_id,
            error=why[:_MAX_ERROR_CHARS],
            first=FIRST_SECONDS,
            longest=LONGEST_SECONDS,
            patience=PATIENCE_SECONDS,
            clock=self._clock(),
        )

    def _notice(self, due: _Due) -> Notice:
        return Notice(
            id=due.name_of_event,
            environment_id=due.environment_id,
            type=due.type,
            subject=due.subject,
            detail=due.detail,
            occurred_at=due.occurred_at,
            count=due.folded or 1,
            destination=self._alerts.opened(due.alert_id, due),
        )
