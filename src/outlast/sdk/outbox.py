"""Triggers that are part of the caller's own transaction: a row in the outbox of its database.

Committed, the row is delivered by `outlast outbox relay` exactly once; rolled back, it never was.
The caller's driver writes it, so nothing here knows a driver but by its name.
"""

import inspect
import time
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import msgspec

from outlast.protocol.triggers import Trigger
from outlast.sdk.errors import UsageError

KEY_PREFIX: Final = "outbox_"

_INSERT: Final = "insert into outlast_outbox (body) values ({})"
_NO_TABLE: Final = "42P01"
_NO_RIGHT: Final = "42501"
_IDLE: Final = 0  # libpq's PQTRANS_IDLE

_encoder: Final = msgspec.json.Encoder()


def ddl() -> str:
    """Return what makes the table; it may run again."""
    return (Path(__file__).parent / "outbox.sql").read_text()


def statements() -> str:
    """Return what the relay asks of the table, as named statements."""
    return (Path(__file__).parent / "outbox_delivery.sql").read_text()


class Promised(msgspec.Struct, frozen=True):
    """A run that there will be once the transaction has committed; it has no id before.

    `key` stands in the outbox row. Trigger with an `idempotency_key` to find the run later.
    """

    task: str
    key: str


async def write(wanted: Trigger, connection: Any) -> Promised:
    """Add a trigger to the transaction of an async connection. Raises `UsageError`."""
    library = _library(connection)
    promised, body = _prepare(wanted)
    if library == "asyncpg":
        _need_transaction(connection.is_in_transaction())
        sent = connection.execute(_INSERT.format("$1"), body)
    elif library and inspect.iscoroutinefunction(getattr(connection, "execute", None)):
        sent = _execute(connection, body)
    else:
        raise UsageError(
            f"{_name(connection)} is no async connection; use trigger_sync(..., connection=...)"
        )
    try:
        await sent
    except Exception as error:
        raise _explained(error) from error
    return promised


def write_sync(wanted: Trigger, connection: Any) -> Promised:
    """Add a trigger to the transaction of a blocking connection. Raises `UsageError`."""
    library = _library(connection)
    if library == "asyncpg" or inspect.iscoroutinefunction(getattr(connection, "execute", None)):
        raise UsageError(f"{_name(connection)} is async; use `await trigger(..., connection=...)`")
    if not (library or hasattr(connection, "cursor")):
        raise UsageError(
            f"connection= is a {_name(connection)}; give a connection or session of asyncpg, "
            "psycopg, SQLAlchemy or Django"
        )
    promised, body = _prepare(wanted)
    try:
        (_execute if library else _execute_by_cursor)(connection, body)
    except UsageError:
        raise
    except Exception as error:
        raise _explained(error) from error
    return promised


def _prepare(wanted: Trigger) -> tuple[Promised, str]:
    """Count a delay from now, whenever the row is delivered, and give the row its key."""
    key = f"{KEY_PREFIX}{token_hex(16)}"
    changes: dict[str, Any] = {"request_key": key}
    if wanted.delay is not None:
        changes |= {"delay": None, "delay_until": time.time() + wanted.delay}
    body = _encoder.encode(msgspec.structs.replace(wanted, **changes)).decode()
    return Promised(task=wanted.task, key=key), body


def _execute(connection: Any, body: str) -> Any:
    """Return what the `execute` of psycopg or SQLAlchemy does: a result, or something to await."""
    if _library(connection) == "sqlalchemy":
        from sqlalchemy import text  # noqa: PLC0415 - the caller has it, we do not need it

        return connection.execute(text(_INSERT.format(":body")), {"body": body})
    _need_transaction(not connection.autocommit or connection.info.transaction_status != _IDLE)
    return connection.execute(_INSERT.format("%s"), (body,))


def _execute_by_cursor(connection: Any, body: str) -> None:
    manual = not getattr(connection, "autocommit", False)
    _need_transaction(getattr(connection, "in_atomic_block", manual))
    with connection.cursor() as cursor:
        cursor.execute(_INSERT.format("%s"), (body,))


def _library(connection: object) -> str:
    tops = {cls.__module__.partition(".")[0] for cls in type(connection).__mro__}
    return next((name for name in ("asyncpg", "psycopg", "sqlalchemy") if name in tops), "")


def _need_transaction(is_open: object) -> None:
    if not is_open:
        raise UsageError(
            "the connection has no transaction open, so the run would belong to nothing: begin "
            "one, or trigger without connection="
        )


def _explained(error: Exception) -> Exception:
    """Return the error that says what to do; one that is not ours to explain as it is."""
    found: Any = getattr(error, "orig", None) or error
    state = getattr(found, "sqlstate", None) or getattr(found, "pgcode", None)
    if state == _NO_TABLE:
        return UsageError(
            "this database has no table outlast_outbox on its search_path; make it with what "
            "`outlast outbox sql` prints"
        )
    if state == _NO_RIGHT:
        return UsageError(
            "this role may not write into outlast_outbox: grant insert on outlast_outbox to it"
        )
    return error


def _name(connection: object) -> str:
    return f"{type(connection).__module__}.{type(connection).__qualname__}"
