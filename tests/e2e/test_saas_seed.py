"""The example's data: the same every time, however often it is written."""

import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

sys.path.append(str(Path(__file__).parents[2] / "examples" / "saas"))

from local.stack import Databases
from scripts.migrate import MigrateError, migrate
from scripts.seed import ORGANIZATIONS, seed

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


async def test_a_database_of_something_else_is_refused(databases: Databases) -> None:
    connection = await asyncpg.connect(databases.owner_url)
    try:
        await connection.execute("create table wordpress (id int)")
    finally:
        await connection.close()

    with pytest.raises(MigrateError, match="wordpress"):
        await migrate(databases.owner_url, databases.app_url, fresh=True)


async def test_the_app_role_must_not_bypass_row_level_security(databases: Databases) -> None:
    connection = await asyncpg.connect(databases.owner_url)
    try:
        await connection.execute(f'alter role "{databases.app}_app" bypassrls')
    finally:
        await connection.close()

    with pytest.raises(MigrateError, match="bypasses row-level security"):
        await migrate(databases.owner_url, databases.app_url)
