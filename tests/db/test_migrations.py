"""Migrations apply once, in order, under one lock, and refuse what does not fit."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outlast.engine import migrations as module
from outlast.engine.database import Database, DatabaseSettings
from outlast.engine.errors import SchemaMismatch, StatementFailed
from outlast.engine.functions import functions_schema
from outlast.engine.migrations import Migration, applied, check, migrate, migrations
from postgres import administrate, url_of

FIRST = Migration(1, "first", breaking=False, sql="create table outlast.one (id int)")
SECOND = Migration(2, "second", breaking=False, sql="create table outlast.two (id int)")
BREAKING = Migration(2, "second", breaking=True, sql="drop table outlast.one")


@pytest.fixture
async def empty(database_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    name = f"outlast_empty_{abs(hash(request.node.name)) % 10**9}"
    await administrate(database_url, f"create database {name}")
    async with await Database.open(
        DatabaseSettings(url=url_of(database_url, name), pool_size=20)
    ) as database:
        yield database
    await administrate(database_url, f"drop database {name} with (force)")


@pytest.fixture
def no_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "function_files", tuple)


async def test_twenty_migrators_at_once_apply_each_migration_once(empty: Database) -> None:
    done = await asyncio.gather(*(migrate(empty) for _ in range(20)))

    assert sum(len(each) for each in done) == len(migrations())
    assert [entry.id for entry in await applied(empty)] == [each.id for each in migrations()]
    await check(empty)


@pytest.mark.usefixtures("no_functions")
async def test_a_failing_migration_leaves_nothing(empty: Database) -> None:
    broken = Migration(2, "second", breaking=False, sql="create table outlast.two (id nonsense)")

    with pytest.raises(StatementFailed):
        await migrate(empty, [FIRST, broken])

    with pytest.raises(SchemaMismatch, match="no schema yet"):
        await check(empty, [FIRST])


@pytest.mark.usefixtures("no_functions")
async def test_an_older_schema_is_refused_until_migrated(empty: Database) -> None:
    await migrate(empty, [FIRST])

    with pytest.raises(SchemaMismatch, match=r"older than this code.*0002_second"):
        await check(empty, [FIRST, SECOND])

    await migrate(empty, [FIRST, SECOND])
    await check(empty, [FIRST, SECOND])


@pytest.mark.usefixtures("no_functions")
async def test_older_code_runs_on_a_newer_schema_unless_it_breaks(empty: Database) -> None:
    await migrate(empty, [FIRST, SECOND])

    await check(empty, [FIRST])
    assert await migrate(empty, [FIRST]) == []


@pytest.mark.usefixtures("no_functions")
async def test_older_code_refuses_a_newer_and_breaking_schema(empty: Database) -> None:
    await migrate(empty, [FIRST, BREAKING])

    with pytest.raises(SchemaMismatch, match="upgrade outlast"):
        await check(empty, [FIRST])
    with pytest.raises(SchemaMismatch, match="upgrade outlast"):
        await migrate(empty, [FIRST])


@pytest.mark.usefixtures("no_functions")
async def test_another_history_is_refused(empty: Database) -> None:
    await migrate(empty, [FIRST])

    with pytest.raises(SchemaMismatch, match="different histories"):
        await migrate(empty, [Migration(1, "other", breaking=False, sql="select 1")])


async def test_functions_of_two_versions_stand_side_by_side(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    schemas = []
    for answer in (1, 2):
        body = f"create function answer() returns int language sql as 'select {answer}'"
        monkeypatch.setattr(module, "function_files", lambda body=body: (("a.sql", body),))
        monkeypatch.setattr(module, "functions_schema", lambda answer=answer: f"outlast_{answer}")
        await migrate(empty, [FIRST])
        await migrate(empty, [FIRST])
        schemas.append(f"outlast_{answer}")

    async with empty.acquire() as executor:
        answers = [await executor.connection.fetchval(f"select {s}.answer()") for s in schemas]
    assert answers == [1, 2]


def test_the_functions_schema_is_named_after_their_content() -> None:
    assert functions_schema().startswith("outlast_")
    assert len(functions_schema()) == len("outlast_") + 12


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("first.sql", "-- breaking: no", "NNNN_words"),
        ("0001_first.sql", "select 1", "breaking: yes"),
        ("0002_first.sql", "-- breaking: no", "expected number 0001"),
    ],
)
def test_a_malformed_set_is_refused(tmp_path: Path, name: str, text: str, reason: str) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(SchemaMismatch, match=reason):
        migrations(tmp_path)
