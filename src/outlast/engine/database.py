"""The one door to PostgreSQL: a pool, rows as Structs, and driver errors translated once."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import GenericAlias, TracebackType
from typing import Self, TypeAlias, TypeVar

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

from outlast.engine.errors import (
    BadData,
    ConnectionLost,
    Contention,
    EngineError,
    StatementFailed,
    Unavailable,
)
from outlast.engine.queries import Statement

Row = TypeVar("Row")
"""A Struct, or a frozen dataclass that is also on the wire."""
Struct = TypeVar("Struct", bound=msgspec.Struct)
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

_CONTENTION_STATES = frozenset({"40001", "40P01", "53100", "55P03", "57014"})  # 53100: disk full
_GONE_STATES = frozenset({"57P01", "57P02", "57P03", "53300", "53400", "25P03", "25P04"})
_GONE_CLASSES = ("08", "58")
_DATA_CLASSES = ("22", "23", "54")
_RELEASE_SECONDS = 2.0
_CLOSE_SECONDS = 3.0
_ARGUMENT = re.compile(r"\$\d+")


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach PostgreSQL. Times in seconds."""

    url: str
    pool_size: int = 16
    application_name: str = "outlast"
    pooler: bool = False
    """Behind a pooler in transaction mode: no prepared statements, no session settings."""
    connect_timeout: float = 10.0
    statement_timeout: float = 5.0
    """No statement of ours holds a snapshot for longer."""
    idle_transaction_timeout: float = 2.0
    """A server that pauses inside a transaction loses its locks after this."""


class Executor:
    """Runs named statements on one connection and decodes their rows."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def fetch(self, row: type[Row], statement: Statement, **values: object) -> list[Row]:
        """Return every row, decoded by column name."""
        with translated(statement.name):
            records = await self.connection.fetch(statement.sql, *statement.arguments(values))
        return _decode(records, row)

    async def fetch_exact(
        self, row: type[Struct], statement: Statement, **values: object
    ) -> list[Struct]:
        """Return every row of a statement whose columns are the Struct's fields, in its order.

        Nothing is converted or checked, which makes it the way for what is read all the time.
        """
        with translated(statement.name):
            records = await self.connection.fetch(statement.sql, *statement.arguments(values))
        if records and tuple(records[0].keys()) != row.__struct_fields__:
            raise TypeError(f"{statement.name} does not return the fields of {row.__name__}")
        return [row(*record) for record in records]

    async def fetch_values(
        self, row: type[Row], statement: Statement, values: Sequence[object]
    ) -> list[Row]:
        """Return every row of a composed statement, whose values come in the order of `$n`.

        It is planned for these very values: one plan for all would miss what is rare.
        """
        with translated(statement.name):
            prepared = await self.connection.prepare(statement.sql)
            records = await prepared.fetch(*values)
        return _decode(records, row)

    async def fetch_one(self, row: type[Row], statement: Statement, **values: object) -> Row | None:
        """Return the first row, or None."""
        with translated(statement.name):
            record = await self.connection.fetchrow(statement.sql, *statement.arguments(values))
        return None if record is None else msgspec.convert(dict(record), row)

    async def fetch_value(self, statement: Statement, **values: object) -> object:
        """Return the first column of the first row, or None."""
        with translated(statement.name):
            value: object = await self.connection.fetchval(
                statement.sql, *statement.arguments(values)
            )
        return value

    async def execute(self, statement: Statement, **values: object) -> int:
        """Run a statement and return how many rows it touched."""
        with translated(statement.name):
            tag = await self.connection.execute(statement.sql, *statement.arguments(values))
        return touched(tag)

    async def execute_many(self, statement: Statement, rows: list[dict[str, object]]) -> None:
        """Run a statement once per set of values, pipelined by the driver."""
        with translated(statement.name):
            await self.connection.executemany(
                statement.sql, [statement.arguments(row) for row in rows]
            )


class Database:
    """A pool of connections; everything but `transaction` takes one for a single statement."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", settings: DatabaseSettings) -> None:
        self._pool = pool
        self.settings = settings

    @classmethod
    async def open(cls, settings: DatabaseSettings) -> "Database":
        """Return a database with one connection proven to work. Raises `Unavailable`."""
        with translated("connect"):
            pool = await asyncpg.create_pool(
                settings.url,
                min_size=1,
                max_size=settings.pool_size,
                timeout=settings.connect_timeout,
                command_timeout=settings.statement_timeout + 5,
                statement_cache_size=0 if settings.pooler else 512,
                max_inactive_connection_lifetime=300,
                server_settings=_server_settings(settings),
                reset=_nothing_to_reset,
            )
        return cls(pool, settings)

    async def close(self) -> None:
        """Close the pool; statements in flight get 3 s to finish."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Executor]:
        """Lend a connection for several statements that need no common transaction."""
        with translated("connect"):
            # Cheaper than the pool's own timeout, which starts a task.
            async with asyncio.timeout(self.settings.connect_timeout):
                connection = await self._pool.acquire()
        try:
            yield Executor(connection)
        finally:
            # What was asked is answered or has failed by now. The pool ends a connection that does
            # not come back in time, as when the query it is in cannot even be canceled.
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._pool.release(connection, timeout=_RELEASE_SECONDS)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Executor]:
        """Lend a connection inside a READ COMMITTED transaction; an exception rolls it back."""
        async with self.acquire() as executor:
            with translated("transaction"):
                async with executor.connection.transaction():
                    yield executor

    async def fetch(self, row: type[Row], statement: Statement, **values: object) -> list[Row]:
        """Return every row, decoded by column name."""
        async with self.acquire() as executor:
            return await executor.fetch(row, statement, **values)

    async def fetch_one(self, row: type[Row], statement: Statement, **values: object) -> Row | None:
        """Return the first row, or None."""
        async with self.acquire() as executor:
            return await executor.fetch_one(row, statement, **values)

    async def fetch_value(self, statement: Statement, **values: object) -> object:
        """Return the first column of the first row, or None."""
        async with self.acquire() as executor:
            return await executor.fetch_value(statement, **values)

    async def execute(self, statement: Statement, **values: object) -> int:
        """Run a statement and return how many rows it touched."""
        async with self.acquire() as executor:
            return await executor.execute(statement, **values)

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Return a connection outside the pool, for LISTEN; the caller closes it."""
        with translated("connect"):
            return await asyncpg.connect(
                self.settings.url,
                timeout=self.settings.connect_timeout,
                statement_cache_size=0,
                server_settings={"application_name": self.settings.application_name},
            )


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the driver's errors into the engine's; `what` names the statement in the message."""
    try:
        yield
    except EngineError:
        raise
    except asyncpg.PostgresError as error:
        raise _translate(what, error) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, EOFError) as error:
        if what == "connect":
            raise ConnectionLost(
                f"PostgreSQL does not answer: {str(error) or repr(error)}"
            ) from error
        raise ConnectionLost(f"{what}: the database connection was lost: {error!r}") from error


def _decode(records: Sequence[asyncpg.Record], row: type[Row]) -> list[Row]:
    """Decode all rows in one call, which costs half of one call each."""
    rows: list[Row] = msgspec.convert(
        [dict(record) for record in records], GenericAlias(list, (row,))
    )
    return rows


def touched(tag: str) -> int:
    """Return the row count of a command tag such as `INSERT 0 5`."""
    last = tag.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


def _translate(what: str, error: asyncpg.PostgresError) -> EngineError:
    state = error.sqlstate or ""
    # PostgreSQL's detail can quote the row, and rows hold user data: only the message goes on.
    message = f"{what}: {error.message or type(error).__name__}"
    if state in _CONTENTION_STATES:
        return Contention(message)
    if state in _GONE_STATES or state.startswith(_GONE_CLASSES):
        return ConnectionLost(message)
    if not error.message:  # the driver's own encoders
        return BadData(f"{what}: {_misfit(error)}", sqlstate=state)
    if state.startswith("28") or state == "3D000":
        return Unavailable(message)
    if state.startswith(_DATA_CLASSES):
        return BadData(message, sqlstate=state)
    return StatementFailed(message, sqlstate=state)


def _misfit(error: Exception) -> str:
    """Name the parameter that the driver could not encode, without its value."""
    argument = _ARGUMENT.search(str(error))
    return f"the value of {argument.group(0) if argument else 'a parameter'} does not fit its type"


async def _nothing_to_reset(_connection: object) -> None:
    """Save the round trip of `RESET ALL`: no statement of ours leaves session state behind."""


def _server_settings(settings: DatabaseSettings) -> dict[str, str]:
    names = {"application_name": settings.application_name}
    if settings.pooler:
        return names  # poolers refuse other settings at start-up
    return names | {
        "statement_timeout": f"{int(settings.statement_timeout * 1000)}ms",
        "idle_in_transaction_session_timeout": f"{int(settings.idle_transaction_timeout * 1000)}ms",
        "jit": "off",  # compiling costs more than any of our statements runs
        "timezone": "UTC",
    }
