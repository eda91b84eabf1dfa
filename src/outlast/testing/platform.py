"""The platform in a test: engine, server and worker in this process, on a clock of the test."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload

from outlast.client import clients
from outlast.engine.engine import Engine, EngineSettings
from outlast.engine.keys import KeyRing
from outlast.engine.probe import Probe
from outlast.engine.tenancy import Environment
from outlast.protocol.statuses import FINAL, Status
from outlast.sdk import runs
from outlast.sdk.durations import Duration
from outlast.sdk.durations import seconds as as_seconds
from outlast.sdk.errors import EndedError
from outlast.sdk.handles import RunHandle
from outlast.sdk.registry import Registry, registry
from outlast.sdk.results import Result
from outlast.sdk.task import Task
from outlast.server.app import create_app
from outlast.server.listening import bind, listening
from outlast.server.settings import ServerSettings
from outlast.testing.clock import Clock
from outlast.testing.databases import databases
from outlast.testing.inspection import AnyRun, Inspection, run_id
from outlast.testing.mortal import mortality
from outlast.testing.stillness import PATIENCE, settle
from outlast.testing.worker import Capture, Worker

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")

MOST_AHEAD: Final = timedelta(days=400)
"""How far `result` lets time pass for a run before it is taken for one that never ends."""
_URL, _KEY = "OUTLAST_API_URL", "OUTLAST_SECRET_KEY"


class NeverEndsError(AssertionError):
    """A run waits for what neither time nor the worker brings."""


@dataclass(frozen=True, kw_only=True)
class _Running:
    engine: Engine
    environment: Environment
    worker: Worker
    probe: Probe


class Platform(Inspection):
    """A whole platform for one test: `async with Platform(tasks=[approve]) as env`.

    While it is open the SDK of this process talks to it. `tasks` are those that its worker knows,
    every task imported so far unless given. Its time stands still at `start` (now) until `advance`
    or `result` moves it. `environment` is the slug that runs see.
    """

    def __init__(
        self,
        *,
        tasks: Iterable[Task[Any, Any]] | None = None,
        start: datetime | None = None,
        environment: str = "dev",
    ) -> None:
        self.clock = Clock(start)
        self._tasks = None if tasks is None else tuple(tasks)
        self._slug = environment
        self._stack = AsyncExitStack()
        self._running: _Running | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running = None
        await self._stack.aclose()

    @property
    def now(self) -> datetime:
        """The durable time: of waits, delays, schedules and `ctx.now()`."""
        return self.clock()

    # ── runs ──────────────────────────────────────────────────────────────────────────────────

    @overload
    async def run(self, task: Task[None, Out]) -> Result[Out]: ...
    @overload
    async def run(self, task: Task[In, Out], payload: In) -> Result[Out]: ...
    async def run(self, task: Task[Any, Out], payload: object = None) -> Result[Out]:
        """Trigger a task and return how its run ended; see `result`."""
        handle = await task.trigger(payload)
        return await self.result(handle)

    async def result(self, run: RunHandle[Out] | str) -> Result[Out]:
        """Return how a run ended; time passes for it, from one due moment to the next.

        Raises `NeverEndsError` for a run that waits for something else than time.
        """
        handle: RunHandle[Any] = runs.handle(run) if isinstance(run, str) else run
        latest = self.now + MOST_AHEAD
        await self.settle()
        while self.status(run) not in FINAL:
            due = await self._up.probe.next_due(timers_only=True)
            if due is None or due > latest:
                till = f"until {due}" if due else "and time alone does not bring it"
                raise NeverEndsError(await self._standing(run, till))
            await self._go(due)
        try:
            output: Out = await handle.result()
        except EndedError as error:
            return Result(id=handle.id, task=handle.task, error=error)
        return Result(id=handle.id, task=handle.task, output=output)

    async def until_waiting(self, run: AnyRun) -> None:
        """Return once a run waits for something; no time passes. Raises `AssertionError`."""
        await self.settle()
        mine = [each for each in self._up.worker.executor.mortals() if each.id == run_id(run)]
        waits = self.status(run) is Status.WAITING or any(each.awaited() for each in mine)
        if not waits:
            raise AssertionError(await self._standing(run, "and does not wait"))

    # ── time ──────────────────────────────────────────────────────────────────────────────────

    async def advance(
        self,
        duration: Duration | None = None,
        /,
        *,
        weeks: float = 0,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> None:
        """Let time pass: `advance(days=1)`, `advance("1h30m")`. Returns once all is at rest.

        What becomes due on the way happens at its own moment, one after the other.
        """
        parts = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        given = timedelta(seconds=0 if duration is None else as_seconds(duration, "duration"))
        if parts < timedelta(0):
            raise ValueError(f"time does not go back: {parts}")
        await self._go(self.now + given + parts)

    async def settle(self) -> None:
        """Return once every run has ended or waits. Raises `NeverStillError` after 10 s."""
        up = self._up
        await self._own(settle(up.engine, up.worker, up.probe, up.environment.id))

    async def _go(self, target: datetime) -> None:
        await self.settle()
        stuck = asyncio.get_running_loop().time() + PATIENCE
        while (due := await self._up.probe.next_due()) is not None and due <= target:
            if due > self.now:
                stuck = asyncio.get_running_loop().time() + PATIENCE
            elif asyncio.get_running_loop().time() > stuck:
                raise AssertionError(f"what was due at {due} does not happen")
            self.clock.move(due)
            await self._own(self._up.engine.ticks.run_once())
            await self.settle()
        self.clock.move(target)
        await self.settle()

    # ── the worker ────────────────────────────────────────────────────────────────────────────

    async def kill_worker(self) -> None:
        """Kill the worker as SIGKILL does, and start another; its runs go on there, cold.

        Nothing unwinds: no `finally` or `except` of a task runs. A `def` task, or a step in a
        thread, goes on until its next call: a thread cannot be killed.
        """
        await self._own(self._replace())

    async def _replace(self) -> None:
        await self._up.worker.end()
        await self._up.worker.start()

    # ── its own ───────────────────────────────────────────────────────────────────────────────

    @property
    def _up(self) -> _Running:
        if self._running is None:
            raise RuntimeError("the platform is not open; use it in `async with`")
        return self._running

    async def _own(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something outside the context of who asks, and to its end: a run may be the one."""
        task = asyncio.get_running_loop().create_task(work, context=Context())
        return await asyncio.shield(task)

    async def _standing(self, run: AnyRun, why: str) -> str:
        found = await self._up.engine.runs.detail(self._up.environment.id, run_id(run))
        said = found.standing or f"has ended as {found.run.status}"
        return f"run {run_id(run)} of {found.run.task} {said}, {why}"

    async def _open(self) -> None:
        enter = self._stack.enter_async_context
        loop = asyncio.get_running_loop()
        room = databases().room
        lent = await asyncio.wrap_future(room.begin(databases().take()))
        keeper = databases()
        self._stack.push_async_callback(
            lambda: asyncio.wrap_future(room.begin(keeper.give_back(lent)))
        )
        key = KeyRing.generate()
        engine = await Engine.open(
            EngineSettings(
                database_url=lent.url,
                server_id="test",
                encryption_keys=(key,),
                migrate=False,
                clock=self.clock,
            )
        )
        self._stack.push_async_callback(engine.close)
        made = await engine.tenancy.create_project("test", ref="proj_test")
        environment = await engine.tenancy.environment("proj_test", self._slug)
        Inspection.__init__(self, room, lent, environment.id)
        url = await enter(_served(engine, lent.url, key))
        self._stack.enter_context(_configured(url, made.keys[self._slug]))
        self._stack.push_async_callback(clients.aclose)
        self._stack.enter_context(mortality(loop))
        capture = self._stack.enter_context(Capture())
        worker = Worker(
            engine, environment, self._registry(), clock=self.clock, capture=capture, api_url=url
        )
        self._stack.push_async_callback(worker.end)
        self._running = _Running(
            engine=engine,
            environment=environment,
            worker=worker,
            probe=Probe(engine.database, environment.id),
        )
        await self._own(worker.start())
        await self._own(engine.ticks.run_once())

    def _registry(self) -> Registry:
        found = Registry()
        known = registry.tasks.values() if self._tasks is None else self._tasks
        found.tasks = {task.id: task for task in known}
        found.queues = dict(registry.queues)
        found.hooks = registry.hooks
        return found


@asynccontextmanager
async def _served(engine: Engine, database_url: str, key: str) -> AsyncIterator[str]:
    settings = ServerSettings(
        database_url=database_url, encryption_keys=(key,), port=0, drain_seconds=0
    )
    with contextlib.closing(bind(settings)) as listener:
        async with listening(create_app(settings, engine), listener) as bound:
            yield bound.url


@contextmanager
def _configured(url: str, key: str) -> Iterator[None]:
    """Point the SDK of this process to a server."""
    before = {name: os.environ.get(name) for name in (_URL, _KEY)}
    os.environ.update({_URL: url, _KEY: key})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
