"""The worker's supervisor: discovers the code, keeps a session per version, and outlives them all.

It holds no user code, so a blocked loop or a segfault never stops a heartbeat. Other code is
another version: it gets a session of its own, while the old one hands its runs back at their next
entries.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable

import msgspec

from outlast.protocol.manifests import Manifest
from outlast.worker.cgroups import Groups
from outlast.worker.events import Fenced, Rejected, Warned, WorkerEvent
from outlast.worker.findings import Findings, Problem, find
from outlast.worker.link import LeaseLostError, RefusedError
from outlast.worker.processes import reap_orphans
from outlast.worker.session import Session
from outlast.worker.settings import WorkerSettings
from outlast.worker.variables import ask

RELOAD_DRAIN = 10.0
"""Seconds that runs of replaced code get to finish their current step."""
_READY = 10.0  # seconds that new code gets to start before the old one is asked to leave

logger = logging.getLogger("outlast.worker")


class NoTasksError(Exception):
    """There is nothing that this worker could execute."""

    def __init__(self, errors: tuple[Problem, ...], dirs: tuple[str, ...]) -> None:
        places = ", ".join(dirs)
        what = "correct what is named above" if errors else "declare one with @task"
        super().__init__(f"no task could be imported from {places}: {what}")
        self.errors = errors


class _Version:
    """One version of the code: its session, and the next one should that be lost."""

    def __init__(
        self,
        settings: WorkerSettings,
        manifest: Manifest,
        *,
        on_event: Callable[[WorkerEvent], None],
        opened: "asyncio.Future[None] | None",
        on_revision: Callable[[int], None],
        groups: Groups | None,
    ) -> None:
        self._groups = groups
        self.manifest = manifest
        self._on_revision = on_revision
        self._opened = opened
        self._settings = settings
        self._on_event = on_event
        self._leaving = False
        self.session = self._open()
        self.task = asyncio.create_task(self._run(), name=f"version {manifest.digest[:8]}")

    def adopt(self, settings: WorkerSettings) -> None:
        """Go on with other settings: another server, other variables."""
        self._settings = settings
        self.session.adopt(settings)

    async def drain(self, reason: str, *, seconds: float, kill: asyncio.Event) -> None:
        """Hand the runs back and end. Errors of the link do not matter any more."""
        self._leaving = True
        await self.session.drain(reason, seconds=seconds, kill=kill)
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def end(self) -> None:
        """End at once."""
        self._leaving = True
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.session.run()
            except LeaseLostError:
                self._on_event(Fenced(self.session.lost))
            else:
                return
            if self._leaving:
                return
            self.session = self._open()

    def _open(self) -> Session:
        return Session(
            self._settings,
            self.manifest,
            on_event=self._on_event,
            opened=self._opened,
            on_revision=self._on_revision,
            groups=self._groups,
        )


class Worker:
    """The supervisor of one worker.

    `opened` says where the server is, once there is one; executors start before.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        on_event: Callable[[WorkerEvent], None],
        discover: Callable[[WorkerSettings], Awaitable[Findings]] = find,
        opened: "asyncio.Future[WorkerSettings] | None" = None,
    ) -> None:
        self._found = opened
        self._connected: asyncio.Future[None] | None = (
            None if opened is None else asyncio.get_running_loop().create_future()
        )
        self._settings = settings
        self._on_event = on_event
        self._discover = discover
        self._groups: Groups | None = None
        self._stale = asyncio.Event()  # the variables on the server are others than ours
        self._version: _Version | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._hurry = asyncio.Event()  # old versions have no time left
        self._reloading = asyncio.Lock()

    async def run(
        self, stop: asyncio.Event, *, kill: asyncio.Event | None = None, reloads: bool = True
    ) -> None:
        """Work until `stop` is set, then drain; `kill` cuts the drain short.

        Raises `RefusedError` when the server will not have this worker, and, unless it `reloads`,
        `NoTasksError` when there is nothing to execute.
        """
        if self._settings.cgroups is not None:
            self._groups = Groups.find(self._settings.cgroups)
            if self._groups is not None:
                logger.info("the kernel keeps the memory of machines: cgroup v2 is writable")
        tasks = [asyncio.create_task(_reap(), name="reap")]
        try:
            if not await self._learn(stop):
                return
            tasks.append(asyncio.create_task(self._keep_up(), name="variables"))
            findings = await self._start()
            if self._version is None and not reloads:
                raise NoTasksError(findings.errors, self._settings.dirs)
            await self._watch(stop)
            if self._version is not None:
                await self._version.drain(
                    "the worker stops",
                    seconds=self._settings.drain,
                    kill=kill or asyncio.Event(),
                )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._end()

    async def reload(self) -> bool:
        """Discover again and go on with what is there now; True when it is another version.

        The same version goes on too; its next processes get the variables that there are now.
        Code with a broken file is rejected: the last good version goes on.
        """
        async with self._reloading:
            findings = await self._discover(self._settings)
            old = self._version
            if old is None:
                return self._begin(findings)
            manifest = findings.manifest
            if findings.errors or manifest is None:
                self._on_event(Rejected(findings.errors, keeps=old.manifest.digest))
                return False
            if manifest.digest == old.manifest.digest:
                old.adopt(self._settings)
                return False
            self._begin(findings)
            await self._replace(old)
            return True

    # Variables

    async def _learn(self, stop: asyncio.Event) -> bool:
        """Ask for the variables before any code is imported; False: it is to stop before.

        Where the server starts beside the worker, they come later.
        """
        if self._connected is not None:
            return True
        asking = asyncio.create_task(ask(self._settings, self._on_event), name="variables")
        stopping: asyncio.Task[object] = asyncio.create_task(stop.wait())
        await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not asking.done():
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            return False
        self._settings = msgspec.structs.replace(self._settings, stored=asking.result())
        return True

    async def _keep_up(self) -> None:
        """Ask for the variables once there is a server, and whenever it has others."""
        if self._found is not None and self._connected is not None:
            found = await asyncio.shield(self._found)
            self._settings = msgspec.structs.replace(
                self._settings, api_urls=found.api_urls, secret_key=found.secret_key
            )
            try:
                await self._refresh()
            except RefusedError as error:
                self._connected.set_exception(error)
                return
            async with self._reloading:
                if self._version is not None:
                    self._version.adopt(self._settings)
            self._connected.set_result(None)
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                await self._refresh()
            except RefusedError:
                logger.warning("the server does not show the environment variables any more")
            except Exception:
                logger.exception("no newer environment variables; the worker goes on with its own")

    async def _refresh(self) -> None:
        """Ask for the variables; if they changed, import the code with them and go on so."""
        before = self._settings.stored
        stored = await ask(self._settings, self._on_event)
        self._settings = msgspec.structs.replace(self._settings, stored=stored)
        if stored.values != before.values:
            await self.reload()

    def _revised(self, revision: int) -> None:
        if revision != self._settings.stored.revision:
            self._stale.set()

    # Versions

    async def _start(self) -> Findings:
        async with self._reloading:
            findings = await self._discover(self._settings)
            self._begin(findings)
            return findings

    def _begin(self, findings: Findings) -> bool:
        for warning in findings.warnings:
            self._on_event(Warned(warning))
        if findings.errors:
            self._on_event(Rejected(findings.errors))
        if findings.manifest is None or not findings.manifest.tasks:
            return False
        self._version = _Version(
            self._settings,
            findings.manifest,
            on_event=self._on_event,
            opened=self._connected,
            on_revision=self._revised,
            groups=self._groups,
        )
        self._changed.set()
        return True

    async def _replace(self, old: _Version) -> None:
        """Let an old version go once the new one can take over."""
        assert self._version is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY):
                await self._version.session.ready.wait()
        leaving = asyncio.create_task(
            old.drain("the code changed", seconds=RELOAD_DRAIN, kill=self._hurry)
        )
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _watch(self, stop: asyncio.Event) -> None:
        """Wait for `stop`; raise what ends the current version before."""
        stopping: asyncio.Task[object] = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                self._changed.clear()
                changing: asyncio.Task[object] = asyncio.create_task(self._changed.wait())
                tasks: set[asyncio.Task[object]] = {stopping, changing}
                if self._version is not None:
                    tasks.add(self._version.task)
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                changing.cancel()
                if self._version is not None and self._version.task in done:
                    self._version.task.result()
                    return
        finally:
            stopping.cancel()

    async def _end(self) -> None:
        self._hurry.set()
        if self._leaving:
            await asyncio.gather(*self._leaving, return_exceptions=True)
        if self._version is not None:
            await self._version.end()


async def _reap() -> None:
    """Do the duty of process 1, when this is it."""
    while os.getpid() == 1:
        await asyncio.sleep(1.0)
        reap_orphans()


async def run_worker(
    settings: WorkerSettings,
    *,
    on_event: Callable[[WorkerEvent], None],
    stop: asyncio.Event,
    kill: asyncio.Event | None = None,
) -> None:
    """Run a worker until `stop` is set, then drain it; `kill` cuts the drain short.

    Raises `RefusedError` when the server will not have this worker, `NoTasksError` when there is
    nothing to execute.
    """
    await Worker(settings, on_event=on_event).run(stop, kill=kill, reloads=False)
