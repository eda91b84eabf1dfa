"""The databases of a test process: made once, lent to one platform at a time, emptied between.

The server is the one of OUTLAST_TEST_DATABASE_URL or OUTLAST_DATABASE_URL, whose own databases are
left alone; else the development wheel's PostgreSQL, for as long as the process lasts.
"""

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import asyncpg

from outlast.engine.binaries import wheel_binaries
from outlast.engine.database import Database, DatabaseSettings
from outlast.engine.embedded import EmbeddedServer
from outlast.engine.migrations import migrate
from outlast.engine.probe import Probe

T = TypeVar("T")

VARIABLES: Final = ("OUTLAST_TEST_DATABASE_URL", "OUTLAST_DATABASE_URL")


class Room:
    """A thread with an event loop of its own, so that a test can look while its loop stands."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="outlast", daemon=True).start()

    def begin(self, work: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Run a coroutine there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there; return what it returns."""
        return self.begin(work).result()


class Lent:
    """A migrated, empty database that belongs to one platform until it is given back."""

    def __init__(self, url: str, database: Database) -> None:
        self.url = url
        self.database = database
        """To read with, in the room of `Databases`."""


class Databases:
    """The databases of this process."""

    def __init__(self) -> None:
        self.room = Room()
        self._lock = asyncio.Lock()
        self._embedded: EmbeddedServer | None = None
        self._folder: str | None = None
        self._server: str | None = None
        self._admin: asyncpg.Connection[asyncpg.Record] | None = None
        self._free: list[Lent] = []
        self._made: list[tuple[str, Lent]] = []

    async def take(self) -> Lent:
        """Return a database that nobody uses. In the room."""
        async with self._lock:
            if self._free:
                return self._free.pop()
            return await self._make()

    async def give_back(self, lent: Lent) -> None:
        """Empty a database for the next platform. In the room."""
        await Probe(lent.database, "").forget()
        self._free.append(lent)

    async def close(self) -> None:
        """Drop the databases and stop the server, if it is ours. In the room."""
        made, self._made, self._free = self._made, [], []
        admin, self._admin = self._admin, None
        if admin is not None:
            for name, lent in made:
                await lent.database.close()
                with contextlib.suppress(asyncpg.InterfaceError):  # the server went before us
                    await admin.execute(f"drop database if exists {name} with (force)")
            await admin.close()
        if self._embedded is not None:
            embedded, self._embedded, self._server = self._embedded, None, None
            with contextlib.suppress(RuntimeError):  # no thread can begin once Python ends
                await embedded.stop()
            shutil.rmtree(embedded.home, ignore_errors=True)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _make(self) -> Lent:
        if self._admin is None:
            self._server = await self._find_server()
            self._admin = await asyncpg.connect(self._server)
        name = f"outlast_test_{uuid.uuid4().hex[:12]}"
        await self._admin.execute(f"create database {name}")
        url = urlsplit(self._server or "")._replace(path=f"/{name}").geturl()
        database = await Database.open(DatabaseSettings(url=url, pool_size=2))
        await migrate(database)
        lent = Lent(url, database)
        self._made.append((name, lent))
        return lent

    async def _find_server(self) -> str:
        for variable in VARIABLES:
            if url := os.environ.get(variable):
                return url
        self._folder = tempfile.mkdtemp(prefix="outlast-testing-")
        self._embedded = EmbeddedServer(Path(self._folder, ".outlast"), binaries=wheel_binaries())
        return await self._embedded.start()


class _Process:
    """The one collection of a process, made when the first platform opens."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.databases: Databases | None = None


_process: Final = _Process()


def databases() -> Databases:
    """Return the databases of this process."""
    with _process.lock:
        if _process.databases is None:
            _process.databases = Databases()
            atexit.register(close)
        return _process.databases


def close() -> None:
    """Let go of every database of this process; the next platform makes new ones."""
    with _process.lock:
        found, _process.databases = _process.databases, None
    if found is not None:
        atexit.unregister(close)
        found.room.call(found.close())


def _after_fork() -> None:
    """Begin anew in a forked child: the thread and the connections are the parent's."""
    _process.lock = threading.Lock()
    _process.databases = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
