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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import httpx

from benchmarks import meter
from benchmarks.delay import delayed
from outlast.engine.database import Database, DatabaseSettings
from outlast.engine.embedded import embedded
from outlast.engine.keys import KeyRing, Keys
from outlast.engine.migrations import migrate
from outlast.engine.tenancy import Tenancy

_PROJECT = Path(__file__).parent / "project"
_CALM_SECONDS = 0.3
_PATIENCE = 60.0
_LEFT = """
select coalesce(sum(queued + running), 0) from outlast.queue
where concurrency_limit is distinct from 0
"""
_LIMIT = 1_000


class Stage:
    """Running processes, and a look behind them."""

    def __init__(self, url: str, key: str, ring_key: str, starts: Path) -> None:
        self.url = url
        self.key = key
        self.ring_key = ring_key
        self.starts = starts
        self.apis: list[str] = []
        self.servers: list[int] = []
        self.worker = 0
        self.finished = 1_000_000
        """Runs that have ended before a workload on aged tables begins."""

    async def ended(self) -> int:
        """Return how many runs have a committed end."""
        return await self.number("select count(*) from outlast.run_end")

    async def until_ended(self, count: int, seconds: float = 300.0) -> None:
        """Wait until `count` ends are committed.

        Looks at counters, which cost next to nothing to read, and counts when they say that
        nothing is left.
        """
        deadline = time.monotonic() + seconds
        await self.until_idle(seconds)
        while await self.ended() < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{count} runs did not end within {seconds:.0f} s")
            await asyncio.sleep(0.01)

    async def until_idle(self, seconds: float = 300.0) -> None:
        """Wait until nothing is queued or executes in the queues that can run."""
        deadline = time.monotonic() + seconds
        connection = await asyncpg.connect(self.url)
        try:
            while left := await connection.fetchval(_LEFT):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{left} runs did not end within {seconds:.0f} s")
                await asyncio.sleep(0.01)
        finally:
            await connection.close()

    async def until(
        self, look: Callable[[], Awaitable[int]], least: int, seconds: float = 120.0
    ) -> None:
        """Wait until a number is reached."""
        deadline = time.monotonic() + seconds
        while (found := await look()) < least:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{found} of {least} within {seconds:.0f} s")
            await asyncio.sleep(0.05)

    async def execute(self, statement: str, *values: object) -> None:
        """Run a statement behind the platform's back."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statement, *values)
        finally:
            await connection.close()

    async def number(self, statement: str) -> int:
        """Return what a statement counts."""
        connection = await asyncpg.connect(self.url)
        try:
            return int(await connection.fetchval(statement))
        finally:
            await connection.close()

    async def projects(self, count: int) -> list[str]:
        """Make projects and return the keys of their `dev` environments."""
        return await _projects(self.url, self.ring_key, count)

    async def spent(self) -> meter.Costs:
        """Return the CPU seconds that each kind of process has taken so far."""
        connection = await asyncpg.connect(self.url)
        try:
            rows = await connection.fetch(
                "select pid from pg_stat_activity where datname is null"
                " or (datname = current_database() and application_name = 'outlast')"
            )
        finally:
            await connection.close()
        return meter.spent(self.servers, self.worker, [row["pid"] for row in rows])


@asynccontextmanager
async def stage(
    *, servers: int = 1, processes: int = 2, delay: float = 0.0
) -> AsyncIterator[Stage]:
    """Set a fresh database, servers and one worker up; take all of it down afterwards.

    `delay` is the seconds that each direction between the servers and PostgreSQL takes longer.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="outlast-bench-")))
        url = await stack.enter_async_context(database(folder))
        ring_key = KeyRing.generate()
        [key] = await _projects(url, ring_key, 1)
        made = Stage(url, key, ring_key, folder / "starts")
        near = stack.enter_context(delayed(url, folder, delay)) if delay else url
        env = {**os.environ, "OUTLAST_DATABASE_URL": near, "OUTLAST_ENCRYPTION_KEYS": ring_key}
        for number in range(servers):
            port = _free_port()
            env["OUTLAST_SERVER_ID"] = f"bench-{number}"
            log = folder / f"server-{number}.log"
            made.servers.append(_start(stack, ["server", "--port", str(port)], env, log))
            made.apis.append(f"http://127.0.0.1:{port}")
        for api in made.apis:
            await _ready(f"{api}/readyz")
        worker_env = {**env, "OUTLAST_SECRET_KEY": made.key, "BENCH_STARTS": str(made.starts)}
        arguments = ["worker", "--dir", str(_PROJECT), "--key", "env:OUTLAST_SECRET_KEY"]
        arguments += ["--processes", str(processes), "--log-level", "warning"]
        for api in made.apis:
            arguments += ["--api-url", api]
        made.worker = _start(stack, arguments, worker_env, folder / "worker.log")
        await _until_connected(made, folder / "worker.log")
        await _until_calm(made.servers)
        os.environ["OUTLAST_API_URL"] = made.apis[0]
        os.environ["OUTLAST_SECRET_KEY"] = made.key
        yield made


@asynccontextmanager
async def database(folder: Path) -> AsyncIterator[str]:
    """Give the URL of a database of this measurement alone."""
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


async def _projects(url: str, ring_key: str, count: int) -> list[str]:
    async with await Database.open(DatabaseSettings(url=url, pool_size=2)) as database:
        await migrate(database)
        tenancy = Tenancy(database, Keys(database, KeyRing((ring_key,))))
        made = [await tenancy.create_project("bench") for _ in range(count)]
        async with database.acquire() as executor:
            await executor.connection.execute(
                "update outlast.environment set concurrency_limit = $1", _LIMIT
            )
    return [project.keys["dev"] for project in made]


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


async def _until_calm(servers: list[int]) -> None:
    """Wait until servers have prepared what they do beside their start: templates and routes."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        before = meter.taken(servers)
        await asyncio.sleep(_CALM_SECONDS)
        if meter.taken(servers) - before < _CALM_SECONDS / 10:
            return
