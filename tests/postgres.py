"""A PostgreSQL for the tests, and migrated databases."""

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg

from outlast.engine.binaries import wheel_binaries
from outlast.engine.database import Database, DatabaseSettings
from outlast.engine.embedded import EmbeddedServer
from outlast.engine.migrations import migrate

T = TypeVar("T")


@contextmanager
def running_postgres() -> Iterator[str]:
    """Give the URL of the server to test with: OUTLAST_TEST_DATABASE_URL, else the wheel's."""
    given = os.environ.get("OUTLAST_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="outlast-tests-") as folder:
        server = EmbeddedServer(Path(folder, ".outlast"), binaries=wheel_binaries())
        url = in_own_loop(server.start())
        # A power cut may have these databases; and what vacuum leaves changes plans of later tests.
        for setting in ("fsync", "full_page_writes", "autovacuum"):
            in_own_loop(administrate(url, f"alter system set {setting} = off"))
        in_own_loop(administrate(url, "select pg_reload_conf()"))
        try:
            yield url
        finally:
            in_own_loop(server.stop())
            shutil.rmtree(server.home)


@contextmanager
def migrated_template(server_url: str) -> Iterator[str]:
    """Give the name of a database to clone."""
    name = f"outlast_template_{uuid.uuid4().hex[:12]}"

    async def make() -> None:
        await administrate(server_url, f"create database {name}")
        async with await Database.open(
            DatabaseSettings(url=url_of(server_url, name), pool_size=1)
        ) as database:
            await migrate(database)

    in_own_loop(make())
    try:
        yield name
    finally:
        in_own_loop(administrate(server_url, f"drop database if exists {name} with (force)"))


async def clone(server_url: str, template: str) -> str:
    """Make a fresh copy of the template; return its name."""
    name = f"outlast_test_{uuid.uuid4().hex[:12]}"
    # Without fsync a copy of files is twice as fast as one through the log; with it, slower.
    strategy = "wal_log" if os.environ.get("OUTLAST_TEST_DATABASE_URL") else "file_copy"
    await administrate(
        server_url, f"create database {name} template {template} strategy {strategy}"
    )
    return name


async def administrate(server_url: str, statement: str) -> None:
    """Run one statement outside any transaction."""
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def url_of(server_url: str, database: str) -> str:
    """Return the URL of another database of the same server."""
    return urlsplit(server_url)._replace(path=f"/{database}").geturl()


def in_own_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine apart from pytest's loops."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
