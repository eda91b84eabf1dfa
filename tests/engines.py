"""Engines for tests: one or several on one database, with a project."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg

from outlast.engine.engine import Engine, EngineSettings
from outlast.engine.keys import KeyRing
from outlast.engine.tenancy import Environment
from outlast.engine.turn import Resumption

KEY = KeyRing.generate()


class Clock:
    """Durable time in a test's hands."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Platform:
    """Servers on one database, and the environment that a test works in."""

    def __init__(
        self, url: str, environment: Environment, open_engine: Callable[[], Awaitable[Engine]]
    ) -> None:
        self.url = url
        self.environment = environment
        self._open = open_engine

    async def server(self) -> Engine:
        """Start one more server."""
        return await self._open()

    async def sql(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Look behind the curtain."""
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetch(statement, *values)
        finally:
            await connection.close()

    @asynccontextmanager
    async def locked(self, table: str) -> AsyncIterator[None]:
        """Let everything that touches a table wait for the block's end."""
        connection = await asyncpg.connect(self.url)
        try:
            async with connection.transaction():
                await connection.execute(f"lock table outlast.{table} in access exclusive mode")
                yield
        finally:
            await connection.close()


@asynccontextmanager
async def platform(
    url: str, slug: str = "dev", clock: Callable[[], datetime | None] | None = None
) -> AsyncIterator[Platform]:
    """Give servers and an environment; `clock` is their durable time."""
    async with AsyncExitStack() as stack:
        count = 0

        async def open_engine() -> Engine:
            nonlocal count
            count += 1
            engine = await Engine.open(
                EngineSettings(
                    database_url=url,
                    server_id=f"server-{count}",
                    encryption_keys=(KEY,),
                    migrate=False,
                    pool_size=8,  # three servers in each of two tests leave room for a hundred
                    clock=clock,
                )
            )
            stack.push_async_callback(engine.close)
            return engine

        first = await open_engine()
        await first.tenancy.create_project("test", ref="proj_test")
        environment = await first.tenancy.environment("proj_test", slug)
        yield Platform(url, environment, open_engine)


async def ended_and_told(engine: Engine, environment_id: str, run: str) -> None:
    """Wait until a run has ended, and whoever counts ends has been told."""
    assert await engine.ends.wait(environment_id, run, 5)
    # Its turn may be on disk and not told yet: the next one begins after that.
    await engine.cycles.of(environment_id).ask(Resumption(run="run_of_nobody"))
