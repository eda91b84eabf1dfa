"""The schema: numbered forward-only migrations and the functions of this code, under one lock."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import asyncpg
import msgspec

from outlast.engine.database import Connection, Database, translated
from outlast.engine.errors import SchemaMismatch
from outlast.engine.functions import expand, function_files, functions_schema

_MIGRATIONS = Path(__file__).parent / "migrations"
_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_BREAKING = re.compile(r"^-- breaking: (yes|no)\s*$", re.MULTILINE)
_LOCK = 0x6F75746C617374  # "outlast" in ASCII; a transaction lock, so that poolers do not matter
_LOCK_SECONDS = 60

_LEDGER = """
create schema if not exists outlast;
create table if not exists outlast.migration (
  id int primary key,
  name text not null,
  breaking boolean not null,
  applied_at timestamptz not null default clock_timestamp()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file; `breaking` means that older code cannot run on what it leaves."""

    id: int
    name: str
    breaking: bool
    sql: str


class Applied(msgspec.Struct, frozen=True):
    """One migration as the database remembers it."""

    id: int
    name: str
    breaking: bool
    applied_at: datetime


def migrations(folder: Path = _MIGRATIONS) -> list[Migration]:
    """Return the migrations of a folder in order. Raises `SchemaMismatch` on a malformed set."""
    found = [_read(path) for path in sorted(folder.glob("*.sql"))]
    for number, migration in enumerate(found, start=1):
        if migration.id != number:
            raise SchemaMismatch(
                f"migration {migration.id:04}_{migration.name}: expected number {number:04}; "
                "numbers start at 0001 and have neither gaps nor doubles"
            )
    return found


async def migrate(database: Database, known: list[Migration] | None = None) -> list[Migration]:
    """Bring the schema up to this code and return what was applied; many may call at once."""
    known = migrations() if known is None else known
    async with database.transaction() as executor:
        connection = executor.connection
        with translated("migrate"):
            await _lock(connection)
            await connection.execute(_LEDGER)
            missing = _missing(known, await _applied(connection))
            for migration in missing:
                await connection.execute(migration.sql)
                await connection.execute(
                    "insert into outlast.migration (id, name, breaking) values ($1, $2, $3)",
                    migration.id,
                    migration.name,
                    migration.breaking,
                )
            await _install_functions(connection)
    return missing


async def check(database: Database, known: list[Migration] | None = None) -> None:
    """Raise `SchemaMismatch` unless this code can run on the schema as it is."""
    known = migrations() if known is None else known
    async with database.acquire() as executor:
        connection = executor.connection
        with translated("check schema"):
            if await connection.fetchval("select to_regclass('outlast.migration')") is None:
                raise SchemaMismatch("the database has no schema yet; run `outlast migrate`")
            missing = _missing(known, await _applied(connection))
            functions = await connection.fetchval("select to_regnamespace($1)", functions_schema())
    if missing:
        raise SchemaMismatch(
            f"the schema is older than this code: {len(missing)} migrations are missing, "
            f"from {missing[0].id:04}_{missing[0].name}; run `outlast migrate`"
        )
    if function_files() and functions is None:
        raise SchemaMismatch("the SQL functions of this version are missing; run `outlast migrate`")


async def applied(database: Database) -> list[Applied]:
    """Return what the database remembers, oldest first."""
    async with database.acquire() as executor:
        with translated("list migrations"):
            return await _applied(executor.connection)


async def _lock(connection: Connection) -> None:
    await connection.execute(
        "set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0;"
        f"set local lock_timeout = '{_LOCK_SECONDS}s'",
    )
    await connection.execute("select pg_advisory_xact_lock($1)", _LOCK, timeout=_LOCK_SECONDS + 5)


async def _applied(connection: Connection) -> list[Applied]:
    records: list[asyncpg.Record] = await connection.fetch(
        "select id, name, breaking, applied_at from outlast.migration order by id"
    )
    return [msgspec.convert(dict(record), Applied) for record in records]


def _missing(known: list[Migration], present: list[Applied]) -> list[Migration]:
    """Return what is not applied. Raises `SchemaMismatch` when this code must not go on."""
    names = {migration.id: migration.name for migration in known}
    for entry in present:
        name = names.get(entry.id)
        if name is None and entry.breaking:
            raise SchemaMismatch(
                f"the schema is newer than this code: migration {entry.id:04}_{entry.name} "
                "changed what this version relies on; upgrade outlast"
            )
        if name is not None and name != entry.name:
            raise SchemaMismatch(
                f"migration {entry.id:04} is {entry.name!r} in the database and {name!r} in this "
                "code; they come from different histories"
            )
    done = {entry.id for entry in present}
    return [migration for migration in known if migration.id not in done]


async def _install_functions(connection: Connection) -> None:
    """Create the functions of this code in a schema of their own, unless they are there."""
    schema = functions_schema()
    if not function_files() or await connection.fetchval("select to_regnamespace($1)", schema):
        return
    await connection.execute(f"create schema {schema}")
    await connection.execute(f"set local search_path = {schema}, outlast, pg_catalog")
    for _name, text in function_files():
        await connection.execute(expand(text))


def _read(path: Path) -> Migration:
    named = _FILE.fullmatch(path.name)
    if named is None:
        raise SchemaMismatch(f"{path.name}: a migration is named NNNN_words.sql")
    sql = path.read_text(encoding="utf-8")
    breaking = _BREAKING.search(sql)
    if breaking is None:
        raise SchemaMismatch(f"{path.name}: the header must say '-- breaking: yes' or 'no'")
    return Migration(int(named.group(1)), named.group(2), breaking.group(1) == "yes", sql)
