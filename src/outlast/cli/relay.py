"""The relay: takes what an app's transactions left in their outbox to the server, exactly once.

A row is deleted in the transaction that saw it delivered. A relay that dies between delivery and
commit leaves the row, and the next one delivers it under the same request key: the server answers
with the run that is there. Needs asyncpg, from the `server` extra.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg
import msgspec

from outlast.client import clients
from outlast.client.errors import OutlastError
from outlast.engine.queries import parse
from outlast.protocol.triggers import Trigger, Triggered
from outlast.sdk.errors import UsageError
from outlast.sdk.outbox import statements

PORTION: Final = 200
POLL_SECONDS: Final = 0.25
LONGEST_PAUSE: Final = 60.0
"""Seconds between two attempts of one row, at most; the first pauses are 1, 2, 4 s."""
_RECONNECT_SECONDS: Final = 1.0
_LOOK_AGAIN_SECONDS: Final = 2.0

_OUTBOX: Final = parse("outbox", statements())
_MOST_LISTED: Final = 100

logger = logging.getLogger("outlast.outbox")


class Delivery(NamedTuple):
    """What one round came to."""

    delivered: int
    postponed: int


class Undelivered(NamedTuple):
    """A row without a run; `error` is why the last attempt failed."""

    number: int
    created_at: datetime
    attempts: int
    error: str | None


class Relay:
    """Delivers the outbox of one database to the environment that is configured."""

    def __init__(
        self,
        url: str,
        *,
        send: Callable[[Trigger], Awaitable[Triggered]] = clients.send_trigger,
        poll: float = POLL_SECONDS,
    ) -> None:
        """`send` triggers a run; a repeated request key must answer with the run that is there."""
        self._url = url
        self._send = send
        self._poll = poll

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set. Waits for a database that is away. Raises `UsageError`."""
        while not stop.is_set():
            try:
                # no prepared statements: the app's database may stand behind a pooler
                connection = await asyncpg.connect(self._url, statement_cache_size=0, timeout=10)
            except asyncpg.ClientConfigurationError as error:
                raise UsageError(f"the app's database is no PostgreSQL URL: {error}") from error
            except (OSError, TimeoutError, asyncpg.PostgresError) as error:
                logger.warning("the outbox's database does not answer: %s", error)
                await _pause(stop, _RECONNECT_SECONDS)
                continue
            try:
                await self._drain(connection, stop)
            except (OSError, TimeoutError, asyncpg.PostgresConnectionError) as error:
                logger.warning("the outbox's database went away: %s", error)
            finally:
                await connection.close(timeout=5)

    async def follow(self, stop: asyncio.Event, say: Callable[[str], None]) -> None:
        """Deliver until `stop` is set, and wait for what is not there yet: `say` tells it once."""
        told = ""
        while not stop.is_set():
            try:
                await self.run(stop)
            except UsageError as error:
                if str(error) != told:
                    told = str(error)
                    say(f"outbox: {told}; looking again")
                await _pause(stop, _LOOK_AGAIN_SECONDS)

    async def run_once(self) -> int:
        """Deliver what is due now; return how many runs were created."""
        connection = await asyncpg.connect(self._url, statement_cache_size=0)
        try:
            total = 0
            while (round_ := await self.round(connection)).delivered:
                total += round_.delivered
        finally:
            await connection.close(timeout=5)
        return total

    async def _drain(self, connection: asyncpg.Connection, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if not (await self.round(connection)).delivered:
                await _pause(stop, self._poll)

    async def round(self, connection: asyncpg.Connection) -> Delivery:
        """Deliver one portion. Raises `UsageError` where there is no outbox."""
        with _explained():
            async with connection.transaction():
                rows = await connection.fetch(_OUTBOX["take"].sql, PORTION)
                if not rows:
                    return Delivery(0, 0)
                answers = await asyncio.gather(*(self._deliver(row["body"]) for row in rows))
                refused = [(row, why) for row, why in zip(rows, answers, strict=True) if why]
                for row, why in refused:
                    await self._postpone(connection, row, why)
                gone = [row["number"] for row, why in zip(rows, answers, strict=True) if not why]
                await connection.execute(_OUTBOX["delivered"].sql, gone)
        return Delivery(len(gone), len(refused))

    async def _postpone(
        self, connection: asyncpg.Connection, row: asyncpg.Record, why: str
    ) -> None:
        pause = min(LONGEST_PAUSE, 2.0 ** min(row["attempts"], 10))
        values = {"number": row["number"], "error": why, "pause": pause}
        statement = _OUTBOX["postpone"]
        await connection.execute(statement.sql, *statement.arguments(values))
        logger.error(
            "outbox row %s has no run yet: %s; next attempt in %g s", row["number"], why, pause
        )

    async def _deliver(self, body: str) -> str:
        """Trigger one row's run; return why there is none, or nothing."""
        try:
            wanted = msgspec.json.decode(body, type=Trigger)
            made = await self._send(wanted)
        except msgspec.MsgspecError as error:
            return f"the row cannot be read: {error}"
        except OutlastError as error:
            return str(error) or type(error).__name__
        return f"{wanted.task}: {made.error.message}" if made.error is not None else ""


async def undelivered(url: str) -> list[Undelivered]:
    """Return what waits in an outbox, the oldest first. Raises `UsageError` without one."""
    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        with _explained():
            rows = await connection.fetch(_OUTBOX["undelivered"].sql, _MOST_LISTED)
    finally:
        await connection.close(timeout=5)
    return [Undelivered(*row) for row in rows]


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except asyncpg.UndefinedTableError as error:
        raise UsageError(
            "this database has no table outlast_outbox; make it with what `outlast outbox sql` "
            "prints"
        ) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise UsageError(
            "this role may not deliver from outlast_outbox: grant select, update, delete on "
            "outlast_outbox to it"
        ) from error


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
