"""A worker in process: the real executor on the test's loop, joined to the engine by frames."""

import asyncio
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any, Self, cast

from outlast.engine.engine import Engine
from outlast.engine.tenancy import Environment
from outlast.protocol.frames import HEARTBEAT_SECONDS, PROTOCOL, Frame, Kind, frame
from outlast.protocol.ids import new_id
from outlast.protocol.manifests import Manifest
from outlast.protocol.messages import Beat, Claim, Heartbeat, Held, Hello, held_digest
from outlast.sdk.registry import Registry
from outlast.sdk.task import Task
from outlast.testing.clock import Clock
from outlast.testing.mortal import Life, MortalAsyncRun, MortalRun, MortalSyncRun
from outlast.worker.capture import Speaker, capture_logs, capture_streams
from outlast.worker.executor import Executor, speaker
from outlast.worker.lines import Gathering
from outlast.worker.processes import Config

SLOTS = 1_000
"""How many runs of each kind of executor it executes at once."""
_CONFIG = Config(
    root=".",
    dirs=(),
    kind="shared",
    replay_always=False,
    warm_wait=0.0,
    sync_warm_wait=0.0,
    console=False,  # what runs print goes on to the test's own stdout
)


class MortalExecutor(Executor):
    """An executor whose runs can die, on a clock of the test."""

    def __init__(
        self,
        registry: Registry,
        wire: "Wire",
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        capture: "Capture | None" = None,
    ) -> None:
        finish = _say_nothing if capture is None else capture.finish
        super().__init__(_CONFIG, registry, wire, loop, _stay, finish=finish)
        self._capture = capture
        self.life = Life()
        self.clock = clock.seconds

    def begin(self, claim: Claim, token: int, task: Task[Any, Any]) -> MortalRun:
        """Return what plays a claimed run."""
        if self._capture is not None:
            self._capture.renew()
        kind = MortalAsyncRun if task.is_async else MortalSyncRun
        return kind(claim, token, task, self, self.life)

    def retire(self, reason: str) -> None:
        """Stay: nothing could replace it."""

    def mortals(self) -> list[MortalRun]:
        """Return the runs that execute or are parked here."""
        return [cast("MortalRun", run) for run in self.runs.values()]

    def die(self) -> None:
        """End every run as a kill does."""
        self.life.over = True
        for run in self.mortals():
            run.die()


class Wire:
    """Frames between an executor and who plays its server: in order, outside of any run's context.

    `crossed` counts them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.crossed = 0
        self.up: Callable[[list[Frame]], None] = _drop
        self.down: Callable[[list[Frame]], None] = _drop
        self._loop = loop
        self._thread = threading.get_ident()
        self._going: deque[tuple[bool, Frame]] = deque()
        self._cut = False

    @property
    def busy(self) -> bool:
        """Whether frames are on their way."""
        return bool(self._going)

    def send(self, frame: Frame, /) -> None:
        """Take a frame of the executor."""
        self._take(is_up=True, frame=frame)

    def send_now(self, *frames: Frame) -> None:
        """Take the last frames of the executor."""
        for each in frames:
            self.send(each)

    def hand_over(self, frame: Frame, /) -> None:
        """Take a frame from any thread."""
        if threading.get_ident() == self._thread:
            self.send(frame)
        else:
            self._loop.call_soon_threadsafe(self.send, frame, context=Context())

    def deliver(self, frames: list[Frame]) -> None:
        """Take frames of the server."""
        for each in frames:
            self._take(is_up=False, frame=each)

    def cut(self) -> None:
        """Lose what is on its way, and all that comes."""
        self._cut = True
        self._going.clear()

    def _take(self, *, is_up: bool, frame: Frame) -> None:
        if self._cut:
            return
        if not self._going:
            self._loop.call_soon(self._pass_on, context=Context())
        self._going.append((is_up, frame))

    def _pass_on(self) -> None:
        for is_up, each in [*self._going]:
            if self._cut:
                return
            try:
                (self.up if is_up else self.down)([each])
            finally:
                self.crossed += 1
                if self._going:
                    self._going.popleft()
        if self._going:
            self._loop.call_soon(self._pass_on, context=Context())


class Worker:
    """Executes the runs of one environment; can be killed, and comes back with nothing."""

    def __init__(
        self,
        engine: Engine,
        environment: Environment,
        registry: Registry,
        *,
        clock: Clock,
        capture: "Capture",
        api_url: str,
    ) -> None:
        self._engine = engine
        self._environment = environment
        self._registry = registry
        self._manifest = manifest(registry)
        self._clock = clock
        self._capture = capture
        self._api_url = api_url
        self._beating: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open a session, and take what there is to execute."""
        loop = asyncio.get_running_loop()
        self.session = new_id("session", time.time_ns() // 1_000_000)
        self.wire = Wire(loop)
        self.executor = MortalExecutor(self._registry, self.wire, loop, self._clock, self._capture)
        self._lines = Gathering(self._pass_on)
        self.wire.down = self.executor.receive
        self.wire.up = self._receive
        self.executor.receive([frame(Kind.BEAT, Beat())])
        hello = Hello(
            protocol=PROTOCOL,
            session=self.session,
            name="test",
            host="test",
            pid=os.getpid(),
            manifest=self._manifest,
            capacity={"shared": SLOTS, "dedicated": SLOTS},
        )
        await self._engine.gateway.open(
            self._environment, hello, self.wire.deliver, api_url=self._api_url
        )
        self._beating = asyncio.create_task(self._beat(), name="beat")

    async def end(self) -> None:
        """Die: nothing unwinds, the session is lost, its runs are rescued."""
        if self._beating is None:
            return
        self.executor.die()
        self.wire.cut()
        self._lines.flush()  # what was said was handed over before
        self._beating.cancel()
        await asyncio.gather(self._beating, return_exceptions=True)
        self._beating = None
        await self._engine.gateway.close(self.session, goodbye=True)

    def flush(self) -> None:
        """Let the engine have what runs said, which gathers for a moment."""
        self._lines.flush()

    def _receive(self, frames: list[Frame]) -> None:
        for each in frames:
            if each.kind == Kind.LINE:
                self._lines.add(each.run, each.token, each.body)
            else:
                self._pass_on([*self._lines.take(each.run, each.token), each])

    def _pass_on(self, frames: list[Frame]) -> None:
        self._engine.gateway.receive(self.session, frames)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            held = tuple(Held(run.id, run.token) for run in self.executor.runs.values())
            beat = Heartbeat(held_digest(held), held)
            await self._engine.gateway.heartbeat(self.session, beat)
            self.executor.receive([frame(Kind.BEAT, Beat())])


def manifest(registry: Registry) -> Manifest:
    """Return what a worker offers: tasks as they were declared. Raises `UsageError`."""
    for task in registry.tasks.values():
        task.check()
    return Manifest(
        digest=new_id("version", time.time_ns() // 1_000_000),
        tasks=tuple(task.manifest() for _, task in sorted(registry.tasks.items())),
        queues=tuple(queue for _, queue in sorted(registry.queues.items())),
        runtime=f"python {sys.version_info.major}.{sys.version_info.minor}",
        sdk="testing",
    )


class Capture:
    """Gives runs what they print and log, inside `with`; it is shown as before."""

    def __enter__(self) -> Self:
        self._handle, self._outside = logging.Logger.callHandlers, (sys.stdout, sys.stderr)
        capture_logs(speaker)
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        logging.Logger.callHandlers = self._handle  # type: ignore[method-assign] # as it was
        if (sys.stdout, sys.stderr) == self._inside:
            sys.stdout, sys.stderr = self._outside

    def renew(self) -> None:
        """Stand before the streams of now: pytest sets its own again before each phase."""
        if (sys.stdout, sys.stderr) != self._inside:
            self._outside = sys.stdout, sys.stderr
            self._begin()

    def finish(self, run: Speaker) -> None:
        """Take what a run began to print."""
        self._finish(run)

    def _begin(self) -> None:
        self._finish = capture_streams(speaker, echo=True)
        self._inside = sys.stdout, sys.stderr


def _say_nothing(_: Speaker) -> None:
    """Take the last words of a run; nobody reads them."""


def _stay() -> None:
    """Go on: this process is the test's."""


def _drop(_: list[Frame]) -> None:
    """Lose frames that nobody takes."""
