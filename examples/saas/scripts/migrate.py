"""Creates the app's database, role, tables and policies. Safe to run again.

Run it from the folder of the example: `python -m scripts.migrate`.
"""

import asyncio
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db import connect
from app.schema import Base
from app.settings import ROOT, SettingsError, settings


class MigrateError(Exception):
    """The database cannot be ours; the message says why."""


async def migrate(owner_url: str, app_url: str, *, fresh: bool = False) -> None:
    """Bring the database of `owner_url` to the present schema, with the role of `app_url`.

    `fresh` throws our tables away first.
    """
    await _create_database(owner_url)
    engine = connect(owner_url, pool_size=1)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("select pg_advisory_xact_lock(hashtext('saas-migrate'))"))
            await _refuse_foreign_tables(connection)
            if fresh:
                await connection.execute(text(f"drop table if exists {_tables()} cascade"))
            await connection.run_sync(Base.metadata.create_all)
            driver = (await connection.get_raw_connection()).driver_connection
            assert isinstance(driver, asyncpg.Connection)
            role = await _create_role(driver, app_url)
            policies = (ROOT / "app" / "policies.sql").read_text(encoding="utf-8")
            await driver.execute(policies.replace(":app_role", role))
    finally:
        await engine.dispose()


def _tables() -> str:
    return ", ".join(Base.metadata.tables)


async def _create_database(owner_url: str) -> None:
    parts = urlsplit(owner_url)
    name = unquote(parts.path.removeprefix("/"))
    connection = await asyncpg.connect(urlunsplit(parts._replace(path="/postgres")))
    try:
        known = await connection.fetchval("select 1 from pg_database where datname = $1", name)
        if known is None:
            quoted = await connection.fetchval("select quote_ident($1)", name)
            await connection.execute(f"create database {quoted}")
    except asyncpg.DuplicateDatabaseError:
        pass  # somebody else was quicker
    finally:
        await connection.close()


async def _refuse_foreign_tables(connection: AsyncConnection) -> None:
    rows = await connection.execute(
        text("select tablename from pg_tables where schemaname = 'public' order by tablename")
    )
    foreign = {row.tablename for row in rows} - set(Base.metadata.tables)
    if foreign:
        raise MigrateError(
            f"this database holds tables of something else ({', '.join(sorted(foreign)[:3])}); "
            "name another database in DATABASE_URL and DATABASE_OWNER_URL"
        )


async def _create_role(driver: "asyncpg.Connection[asyncpg.Record]", app_url: str) -> str:
    """Create the role that the app connects as; its name and password stand in the URL."""
    parts = urlsplit(app_url)
    name, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not name or not password:
        raise MigrateError("DATABASE_URL must name a role and its password")
    may_bypass = await driver.fetchval(
        "select rolsuper or rolbypassrls from pg_roles where rolname = $1", name
    )
    if may_bypass:
        raise MigrateError(f"role {name!r} bypasses row-level security; name one without rights")
    form = f"{'create' if may_bypass is None else 'alter'} role %I login password %L"
    statement = await driver.fetchval(
        "select format($1::text, $2::text, $3::text)", form, name, password
    )
    await driver.execute(statement)
    return str(await driver.fetchval("select quote_ident($1)", name))


def main() -> None:
    """Migrate the database that the settings name."""
    if settings().database_owner_url is None:
        raise SettingsError("DATABASE_OWNER_URL is missing. see .env.example for every variable")
    asyncio.run(migrate(str(settings().database_owner_url), settings().database_url))
    print("the database is up to date")


if __name__ == "__main__":
    main()
