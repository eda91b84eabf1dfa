"""Rows become Structs and driver errors the engine's own, without the values in them."""

from datetime import UTC, datetime

import msgspec
import pytest

from outlast.engine.database import Database, DatabaseSettings
from outlast.engine.errors import (
    BadData,
    ConnectionLost,
    Contention,
    EngineError,
    StatementFailed,
    Unavailable,
)
from outlast.engine.queries import Statement, parse


class Row(msgspec.Struct):
    number: int
    names: tuple[str, ...]
    at: datetime
    text: str | None = None


def statement(sql: str) -> Statement:
    return parse("test", f"-- name: it\n{sql}")["it"]


async def test_rows_are_decoded_by_column_name(database: Database) -> None:
    query = statement("select :at::timestamptz as at, :names::text[] as names, :n::int as number")
    at = datetime(2026, 11, 22, tzinfo=UTC)

    row = await database.fetch_one(Row, query, at=at, names=["a"], n=7)

    assert row == Row(number=7, names=("a",), at=at)


async def test_a_transaction_rolls_back_on_any_exception(database: Database) -> None:
    async def fail_inside() -> None:
        async with database.transaction() as executor:
            await executor.execute(statement("create table mine (id int)"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_inside()

    assert await database.fetch_value(statement("select to_regclass('mine')::text")) is None


@pytest.mark.parametrize(
    ("sql", "value", "error"),
    [
        ("select :x::text", "nul \0 secret", BadData),
        ("select :x::text", "surrogate \ud800 secret", BadData),
        ("select :x::int", "secret", BadData),
        ("select :x::int", 2**40, BadData),
        ("select 1 / :x::int", 0, BadData),
        ("select nothing from nowhere where :x::int = 1", 0, StatementFailed),
    ],
)
async def test_errors_of_a_statement_are_typed_and_hide_the_value(
    database: Database, sql: str, value: object, error: type[EngineError]
) -> None:
    with pytest.raises(error) as caught:
        await database.fetch_value(statement(sql), x=value)

    assert "secret" not in str(caught.value)
    assert "test.it" in str(caught.value)


async def test_a_timeout_is_contention_and_surely_not_committed(fresh_url: str) -> None:
    settings = DatabaseSettings(url=fresh_url, statement_timeout=0.05)
    async with await Database.open(settings) as database:
        with pytest.raises(Contention):
            await database.execute(statement("select pg_sleep(5)"))


async def test_a_lost_connection_is_named_and_the_pool_recovers(database: Database) -> None:
    terminate = statement("select pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(ConnectionLost):
        await database.execute(terminate)

    assert await database.fetch_value(statement("select 1")) == 1


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await Database.open(DatabaseSettings(url="postgresql://x@127.0.0.1:1/x"))


async def test_behind_a_pooler_nothing_is_prepared_or_set(fresh_url: str) -> None:
    async with await Database.open(DatabaseSettings(url=fresh_url, pooler=True)) as database:
        for _ in range(3):
            await database.fetch_value(statement("select :x::int"), x=1)
        async with database.acquire() as executor:
            prepared = await executor.connection.fetchval(
                "select count(*) from pg_prepared_statements"
            )
            jit = await executor.connection.fetchval(
                "select source from pg_settings where name = 'statement_timeout'"
            )
    assert prepared <= 1
    assert jit == "default"
