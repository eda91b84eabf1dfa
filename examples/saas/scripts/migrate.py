"""Brings the app's database, tables, role and policies up to date. Safe to run again.

Run it from the folder of the example: `python -m scripts.migrate`. What changes a table is a file
of its own in `app/migrations/`, applied once, in the order of their numbers; a file that has been
applied somewhere is never edited again.
"""

import asyncio
import sys
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db import connect
from app.schema import Base
from app.settings import ROOT, SettingsError, settings

APPLIED = "applied_migrations"


class MigrateError(Exception):
    """The database cannot be brought up to date; the message says why."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One change of the tables."""

    number: int
    name: str
    sql: str


def known_migrations() -> tuple[Migration, ...]:
    """Return what is in `app/migrations/`, in order. Raises `MigrateError` for a gap or a twin."""
    files = sorted((ROOT / "app" / "migrations").glob("[0-9]*_*.sql"))
    parts = [(*path.stem.split("_", 1), path.read_text(encoding="utf-8")) for path in files]
    found = tuple(Migration(int(number), name, sql) for number, name, sql in parts)
    numbers = [one.number for one in found]
    if numbers != list(range(1, len(found) + 1)):
        raise MigrateError(f"app/migrations must count 1, 2, 3, … and counts {numbers}")
    return found


async def migrate(
    owner_url: str,
    app_url: str,
    *,
    fresh: bool = False,
    migrations: tuple[Migration, ...] | None = None,
) -> None:
    """Bring the database of `owner_url` to the present schema, with the role of `app_url`.

    All in one transaction: a migration that fails leaves what was there. `fresh` throws our tables
    away first.
    """
    await _create_database(owner_url)
    engine = connect(owner_url, pool_size=1)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("select pg_advisory_xact_lock(hashtext('saas-migrate'))"))
            await _refuse_unknown_tables(connection, fresh=fresh)
            if fresh:
                await connection.execute(text(f"drop table if exists {', '.join(_ours())} cascade"))
            driver = (await connection.get_raw_connection()).driver_connection
            assert isinstance(driver, asyncpg.Connection)
            await _apply(driver, known_migrations() if migrations is None else migrations)
            role = await _create_role(driver, app_url)
            policies = (ROOT / "app" / "policies.sql").read_text(encoding="utf-8")
            await driver.execute(policies.replace(":app_role", role))
    finally:
        await engine.dispose()


async def _apply(
    driver: "asyncpg.Connection[asyncpg.Record]", known: tuple[Migration, ...]
) -> None:
    """Apply what this database has not seen."""
    await driver.execute(
        "create table if not exists applied_migrations (number int primary key, "
        "name text not null, applied_at timestamptz not null default now())"
    )
    last: int = await driver.fetchval("select coalesce(max(number), 0) from applied_migrations")
    if last > len(known):
        raise MigrateError(
            f"this database is at migration {last} and this code knows {len(known)}; "
            "run the code that it was migrated with, or a newer one"
        )
    for migration in known[last:]:
        try:
            await driver.execute(migration.sql)
        except asyncpg.PostgresError as error:
            raise MigrateError(
                f"migration {migration.number:04d}_{migration.name} failed, and nothing has "
                f"changed: {error}"
            ) from error
        note = "insert into applied_migrations (number, name) values ($1, $2)"
        await driver.execute(note, migration.number, migration.name)


def _ours() -> list[str]:
    return [APPLIED, *Base.metadata.tables]


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


async def _refuse_unknown_tables(connection: AsyncConnection, *, fresh: bool) -> None:
    """Leave alone what is not ours, and ours of which nobody knows how far they were migrated."""
    rows = await connection.execute(
        text("select tablename from pg_tables where schemaname = 'public' order by tablename")
    )
    present = {row.tablename for row in rows}
    foreign = present - set(_ours())
    if foreign:
        raise MigrateError(
            f"this database holds tables of something else ({', '.join(sorted(foreign)[:3])}); "
            "name another database in DATABASE_URL and DATABASE_OWNER_URL"
        )
    if present and APPLIED not in present and not fresh:
        raise MigrateError(
            "this database was made before the example numbered its migrations, so nothing says "
            "which of them it has seen. If it holds sample data only, drop it with dropdb and run "
            "this again; else name another database in DATABASE_URL and DATABASE_OWNER_URL"
        )


async def _create_role(driver: "asyncpg.Connection[asyncpg.Record]", app_url: str) -> str:
    """Create the role that the app connects as; its name and password stand in the URL."""
    parts = urlsplit(app_url)
    name, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not name or not password:
        raise MigrateError("DATABASE_URL must name a role and its password")
    may_bypass = await driver.fetchval(
        "select rolsuper or rolbypassrls or pg_has_role(oid, current_user, 'member') "
        "from pg_roles where rolname = $1",
        name,
    )
    if may_bypass:  # an owner does so too
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
    try:
        main()
    except (MigrateError, SettingsError, OSError) as error:
        sys.exit(f"migrate: {error}")
