"""The stage: PostgreSQL, servers and a worker as processes of their own, ready before the clock."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import httpx

from outlast.engine.database import Database, DatabaseSettings
from outlast.engine.embedded import embedded
from outlast.engine.keys import KeyRing, Keys
from outlast.engine.migrations import migrate
from outlast.engine.tenancy import Tenancy

_PROJECT = Path(__file__).parent / "project"
_PATIENCE = 60.0
_LIMIT = 1_000


class Stage:
    """Running processes, and a look behind them."""

    def __init__(self, url: str, apis: list[str], key: str, starts: Path, worker_pid: int) -> None:
        self.url = url
        self.apis = apis
        self.key = key
        self.starts = starts
        self.worker_pid = worker_pid

    async def ended(self) -> int:
        """Return how many runs have a committed end."""
        return int(await self.number("select count(*) from outlast.run_end"))

    async def until_ended(self, count: int, seconds: float = 300.0) -> None:
        """Wait until `count` ends are committed."""
        deadline = time.monotonic() + seconds
        connection = await asyncpg.connect(self.url)
        try:
            while await connection.fetchval("select count(*) from outlast.run_end") < count:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{count} runs did not end within {seconds:.0f} s")
                await asyncio.sleep(0.02)
        finally:
            await connection.close()

    async def execute(self, statement: str) -> None:
        """Run a statement behind the platform's back."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def number(self, statement: str) -> int:
        """Return what a statement counts."""
        connection = await asyncpg.connect(self.url)
        try:
            return int(await connection.fetchval(statement))
        finally:
            await connection.close()


@asynccontextmanager
async def stage(*, servers: int = 1, processes: int = 2) -> AsyncIterator[Stage]:
    """Set a fresh database, servers and one worker up; take all of it down afterwards."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="outlast-bench-")))
        url = await stack.enter_async_context(_database(folder))
        ring_key = KeyRing.generate()
        key = await _project(url, ring_key)
        starts = folder / "starts"
        env = {**os.environ, "OUTLAST_DATABASE_URL": url, "OUTLAST_ENCRYPTION_KEYS": ring_key}
        apis = []
        for number in range(servers):
            port = _free_port()
            env["OUTLAST_SERVER_ID"] = f"bench-{number}"
            _start(stack, ["server", "--port", str(port)], env, folder / f"server-{number}.log")
            apis.append(f"http://127.0.0.1:{port}")
        for api in apis:
            await _ready(f"{api}/readyz")
        worker_env = {**env, "OUTLAST_SECRET_KEY": key, "BENCH_STARTS": str(starts)}
        arguments = ["worker", "--dir", str(_PROJECT), "--key", "env:OUTLAST_SECRET_KEY"]
        arguments += ["--processes", str(processes)]
        for api in apis:
            arguments += ["--api-url", api]
        arguments += ["--log-level", "warning"]
        pid = _start(stack, arguments, worker_env, folder / "worker.log")
        made = Stage(url, apis, key, starts, pid)
        await _until_connected(made, folder / "worker.log")
        yield made


@asynccontextmanager
async def _database(folder: Path) -> AsyncIterator[str]:
    given = os.environ.get("OUTLAST_BENCH_DATABASE_URL")
    if given is None:
        async with embedded(folder / "database") as url:
            yield url
        return
    name = f"outlast_bench_{os.getpid()}"
    await _administrate(given, f"create database {name}")
    try:
        yield f"{given.rsplit('/', 1)[0]}/{name}"
    finally:
        await _administrate(given, f"drop database {name} with (force)")


async def _administrate(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _project(url: str, ring_key: str) -> str:
    async with await Database.open(DatabaseSettings(url=url, pool_size=2)) as database:
        await migrate(database)
        tenancy = Tenancy(database, Keys(database, KeyRing((ring_key,))))
        made = await tenancy.create_project("bench", ref="proj_bench")
        async with database.acquire() as executor:
            await executor.connection.execute(
                "update outlast.environment set concurrency_limit = $1", _LIMIT
            )
    return made.keys["dev"]


def _start(stack: AsyncExitStack, arguments: list[str], env: dict[str, str], log: Path) -> int:
    output = stack.enter_context(log.open("wb"))
    process = subprocess.Popen(
        [sys.executable, "-m", "outlast", *arguments],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    stack.callback(_stop, process)
    return process.pid


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def _ready(url: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    async with httpx.AsyncClient(trust_env=False) as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(url)).status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(0.05)
    raise TimeoutError(f"{url} did not become ready")


async def _until_connected(made: Stage, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if await made.number("select count(*) from outlast.session where lost_at is null"):
            return
        await asyncio.sleep(0.05)
    raise TimeoutError(f"the worker did not connect; see {log}")
