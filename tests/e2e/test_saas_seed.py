"""The example's data: the same every time, however often it is written."""

import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

sys.path.append(str(Path(__file__).parents[2] / "examples" / "saas"))

from app.db import connect
from app.schema import Base
from local.stack import Databases
from scripts.migrate import APPLIED, MigrateError, Migration, known_migrations, migrate
from scripts.seed import ORGANIZATIONS, seed

pytestmark = pytest.mark.timeout(120)

TABLES = ("organizations", "users", "members", "invoices", "email_suppressions")


@pytest.fixture
async def databases(database_url: str) -> AsyncIterator[Databases]:
    name = f"saas_{secrets.token_hex(4)}"
    databases = Databases(database_url, platform=f"{name}_platform", app=name)
    try:
        await databases.create()
        yield databases
    finally:
        await databases.drop()


async def picture(url: str) -> dict[str, list[str]]:
    """Return every row of the seed as text, less the time it was written at."""
    connection = await asyncpg.connect(url)
    try:
        return {
            table: [
                row[0]
                for row in await connection.fetch(
                    f"select (to_jsonb(t) - 'created_at')::text from {table} t order by 1"
                )
            ]
            for table in TABLES
        }
    finally:
        await connection.close()


async def test_seeding_twice_gives_the_same_data(databases: Databases) -> None:
    await seed(databases.owner_url)
    first = await picture(databases.owner_url)

    await seed(databases.owner_url)

    assert await picture(databases.owner_url) == first
    assert len(first["invoices"]) == sum(known.invoices for known in ORGANIZATIONS)
    assert len(first["users"]) == 6


async def test_seeding_again_forgets_exports(databases: Databases) -> None:
    await seed(databases.owner_url)
    connection = await asyncpg.connect(databases.owner_url)
    try:
        await connection.execute(
            "insert into exports (organization_id, requested_by, idempotency_key, day_bucket) "
            "select id, 'user_ada', 'k', '2025-01-01' from organizations limit 1"
        )

        await seed(databases.owner_url)

        assert await connection.fetchval("select count(*) from exports") == 0
    finally:
        await connection.close()


async def test_one_organization_can_be_made_large(databases: Databases) -> None:
    await seed(databases.owner_url, rows=5_001)

    connection = await asyncpg.connect(databases.owner_url)
    try:
        counts = await connection.fetch(
            "select slug, count(invoices.id) as rows from organizations "
            "left join invoices on organization_id = organizations.id group by slug"
        )
    finally:
        await connection.close()
    assert {row["slug"]: row["rows"] for row in counts} == {
        "org_acme": 5_001,
        "org_globex": 220,
        "org_initech": 240,
        "org_empty": 0,
    }


async def catalogue(url: str) -> list[str]:
    """Return every column and constraint of a database as text."""
    connection = await asyncpg.connect(url)
    try:
        columns = await connection.fetch(
            "select concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default)"
            " from information_schema.columns where table_schema = 'public'"
        )
        constraints = await connection.fetch(
            "select concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))"
            " from pg_constraint where connamespace = 'public'::regnamespace"
        )
        found = [row[0] for row in (*columns, *constraints)]
        return sorted(row for row in found if not row.startswith(APPLIED))
    finally:
        await connection.close()


async def test_the_migrations_make_the_tables_that_the_models_describe(
    databases: Databases,
) -> None:
    migrated = await catalogue(databases.owner_url)
    engine = connect(databases.owner_url, pool_size=1)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("drop schema public cascade"))
            await connection.execute(text("create schema public"))
            await connection.run_sync(Base.metadata.create_all)
    finally:
        await engine.dispose()

    assert migrated == await catalogue(databases.owner_url)


async def test_a_database_of_the_first_migration_comes_along_with_its_rows(
    databases: Databases,
) -> None:
    urls = databases.owner_url, databases.app_url
    known = known_migrations()
    await migrate(*urls, fresh=True, migrations=known[:1])
    await seed(databases.owner_url)
    before = await picture(databases.owner_url)

    await migrate(*urls)
    await migrate(*urls)

    assert await picture(databases.owner_url) == before
    connection = await asyncpg.connect(databases.owner_url)
    try:
        applied = await connection.fetch(f"select number, name from {APPLIED} order by number")
        with pytest.raises(asyncpg.CheckViolationError, match="invoice_status_is_known"):
            await connection.execute("update invoices set status = 'lost'")
    finally:
        await connection.close()
    assert [tuple(row) for row in applied] == [(one.number, one.name) for one in known]


async def test_a_migration_that_fails_changes_nothing_and_says_which(databases: Databases) -> None:
    urls = databases.owner_url, databases.app_url
    known = known_migrations()
    bad = Migration(len(known) + 1, "bad", "alter table users add age int; select 1 / 0")
    before = await catalogue(databases.owner_url)

    with pytest.raises(MigrateError, match=r"_bad failed, and nothing has changed: division"):
        await migrate(*urls, migrations=(*known, bad))

    assert await catalogue(databases.owner_url) == before


async def test_older_code_leaves_a_newer_database_alone(databases: Databases) -> None:
    urls = databases.owner_url, databases.app_url

    with pytest.raises(MigrateError, match="this code knows 1"):
        await migrate(*urls, migrations=known_migrations()[:1])


async def test_a_database_of_something_else_is_refused(databases: Databases) -> None:
    connection = await asyncpg.connect(databases.owner_url)
    try:
        await connection.execute("create table wordpress (id int)")
    finally:
        await connection.close()

    with pytest.raises(MigrateError, match="wordpress"):
        await migrate(databases.owner_url, databases.app_url, fresh=True)


async def test_a_database_from_before_the_numbers_is_refused_and_told_what_to_do(
    databases: Databases,
) -> None:
    urls = databases.owner_url, databases.app_url
    connection = await asyncpg.connect(databases.owner_url)
    try:
        await connection.execute(f"drop table {APPLIED}")
    finally:
        await connection.close()
    before = await catalogue(databases.owner_url)

    with pytest.raises(MigrateError, match=r"before the example numbered.*dropdb"):
        await migrate(*urls)

    assert await catalogue(databases.owner_url) == before
    await migrate(*urls, fresh=True)


async def test_the_app_role_must_not_bypass_row_level_security(databases: Databases) -> None:
    connection = await asyncpg.connect(databases.owner_url)
    try:
        await connection.execute(f'alter role "{databases.app}_app" bypassrls')
    finally:
        await connection.close()

    with pytest.raises(MigrateError, match="bypasses row-level security"):
        await migrate(databases.owner_url, databases.app_url)


async def test_the_app_role_must_not_own_the_tables(databases: Databases) -> None:
    """Row-level security does not apply to who owns a table, superuser or not."""
    role = f"{databases.app}_app"
    connection = await asyncpg.connect(databases.owner_url)
    try:
        owned = "select count(*) from pg_tables where tableowner = $1"
        assert await connection.fetchval(owned, role) == 0
        owner = await connection.fetchval("select current_user")
        await connection.execute(f'grant "{owner}" to "{role}"')
    finally:
        await connection.close()

    with pytest.raises(MigrateError, match="bypasses row-level security"):
        await migrate(databases.owner_url, databases.app_url)
