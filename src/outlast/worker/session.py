"""One worker session: a version of the code, its executors and its link to the servers."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Sequence

from outlast.clock import boot_seconds
from outlast.protocol.frames import PROTOCOL, Frame, Kind, frame
from outlast.protocol.ids import new_id
from outlast.protocol.manifests import ExecutorKind, Manifest
from outlast.protocol.messages import Beat, Capacity, Held, Hello, Welcome, held_digest
from outlast.protocol.vitals import Vitals
from outlast.worker.cgroups import Groups
from outlast.worker.environment import executor_environment, hash_seed, known_secrets
from outlast.worker.events import Disconnected, Ready, WorkerEvent
from outlast.worker.link import Link
from outlast.worker.pool import Limits
from outlast.worker.processes import Config, Launch
from outlast.worker.routing import Router
from outlast.worker.settings import WorkerSettings
from outlast.worker.vitals import vitals


class Session:
    """A version of the code on one link, with its executors. It implements `link.Peer`."""

    def __init__(
        self,
        settings: WorkerSettings,
        manifest: Manifest,
        *,
        on_event: Callable[[WorkerEvent], None],
        clock: Callable[[], float] = boot_seconds,
        opened: "asyncio.Future[None] | None" = None,
        on_revision: Callable[[int], None] = lambda _: None,
        groups: Groups | None = None,
    ) -> None:
        self.id = new_id("session", time.time_ns() // 1_000_000)
        self.manifest = manifest
        self.ready = asyncio.Event()
        self.lost = 0
        """Runs that were here when the session ended."""
        self._settings = settings
        self._opened = opened
        self._on_event = on_event
        self._draining = False
        self._welcome: tuple[Welcome, str] | None = None
        self._on_revision = on_revision
        self._environment = self._variables()
        self._link = Link(
            urls=settings.api_urls, secret_key=settings.secret_key, peer=self, clock=clock
        )
        self._router = Router(
            self._link,
            self._launch,
            Limits(
                loops=settings.loops,
                processes=settings.processes,
                shared_concurrency=settings.shared_concurrency,
                warm_wait=settings.warm_wait,
                ahead=any(task.executor == "dedicated" for task in manifest.tasks),
            ),
            on_event=on_event,
            on_ready=self._announce,
            on_capacity=self._capacity_changed,
            machines=settings.machines,
            secrets=known_secrets(settings.secret_key, settings.stored),
            groups=groups,
        )
        self._pool = self._router.pool

    # Its life

    async def run(self) -> None:
        """Serve until `drain` is through. Raises `RefusedError` or `LeaseLostError`.

        However it ends, no executor survives it.
        """
        tending = asyncio.create_task(self._tend(), name="tend")
        try:
            self._pool.start()
            if self._opened is not None:  # the server starts beside the executors
                await asyncio.shield(self._opened)
                self._link.aim(self._settings.api_urls, self._settings.secret_key)
            await self._link.run()
        finally:
            tending.cancel()
            self.lost = len(self._router.holdings)
            self._pool.kill()
            await self._pool.ended()

    async def drain(self, reason: str, *, seconds: float, kill: asyncio.Event) -> None:
        """Take nothing new, hand every run back at its next entry, and leave the server."""
        self._draining = True
        self._link.tell(frame(Kind.CAPACITY, Capacity({"shared": 0, "dedicated": 0})))
        self._router.say_goodbye(reason)
        waits = [asyncio.create_task(self._pool.ended()), asyncio.create_task(kill.wait())]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        self._pool.kill()
        await self._pool.ended()
        await self._link.close(reason)

    def adopt(self, settings: WorkerSettings) -> None:
        """Give what starts from now on the variables of these settings.

        What executes goes on with those that its process was started with.
        """
        self._settings = settings
        before, self._environment = self._environment, self._variables()
        if self._environment != before:
            self._router.lines.hide(known_secrets(settings.secret_key, settings.stored))
            self._pool.renew()

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._router.tend()

    # What the link asks and tells

    def hello(self) -> Hello:
        """Return the first frame of a socket."""
        return Hello(
            protocol=PROTOCOL,
            session=self.id,
            name=self._settings.name or f"{socket.gethostname()}-{os.getpid()}",
            host=socket.gethostname(),
            pid=os.getpid(),
            manifest=self.manifest,
            capacity=self._pool.capacity(),
            held=self.held(),
        )

    def held(self) -> tuple[Held, ...]:
        """Return the runs held; those of a crash that no server confirmed are among them."""
        ours = self._router.holdings.held()
        known = {each.run for each in ours}
        return (*ours, *(each for each in self._link.unconfirmed() if each.run not in known))

    def digest(self, held: tuple[Held, ...]) -> str:
        """Return the digest of a list of runs."""
        return held_digest(held)

    def vitals(self) -> Vitals:
        """Return how the processes are, for people."""
        return vitals(self._pool)

    def welcomed(self, welcome: Welcome, server: str) -> None:
        """Take note that a server took the session in."""
        self._welcome = (welcome, server)
        self._router.lend(server, welcome.access)
        self._announce()

    def told(self, beat: Beat) -> None:
        """Pass a new token on to the executors, and the revision of the variables upwards."""
        if beat.access:
            assert self._welcome is not None
            self._router.lend(self._welcome[1], beat.access)
        if beat.variables is not None:
            self._on_revision(beat.variables)

    def beat(self) -> None:
        """Pass a fresh lease on to the executors."""
        self._router.beat()

    def disconnected(self, server: str, reason: str) -> None:
        """Take note that the socket is gone."""
        self._on_event(Disconnected(server, reason))

    def receive(self, frames: Sequence[Frame]) -> None:
        """Route what a server says about runs."""
        self._router.receive(frames)

    def _capacity_changed(self) -> None:
        if not self._draining:
            self._link.tell(frame(Kind.CAPACITY, Capacity(self._pool.capacity())))

    def _announce(self) -> None:
        if self.ready.is_set() or self._welcome is None:
            return
        if not any(place.ready for place in self._pool.places):
            return
        self.ready.set()
        welcome, server = self._welcome
        tasks = tuple(task.id for task in self.manifest.tasks)
        self._on_event(Ready(welcome.version, tasks, server, welcome.environment_slug))

    def _variables(self) -> dict[str, str]:
        settings = self._settings
        return executor_environment(
            settings.secret_key,
            hash_seed=hash_seed(self.manifest.digest),
            stored=settings.stored,
            root=settings.project_root,
        )

    def _launch(self, kind: ExecutorKind) -> Launch:
        settings = self._settings
        config = Config(
            root=str(settings.project_root),
            dirs=settings.dirs,
            kind=kind,
            replay_always=settings.replay_always,
            warm_wait=settings.warm_wait,
            sync_warm_wait=settings.sync_warm_wait,
            log_level=settings.log_level,
            console=settings.console,
        )
        return Launch(config, self._environment, settings.executor_command)
