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

from outlast.protocol.manifests import Manifest
from outlast.worker.cgroups import Groups
from outlast.worker.events import Fenced, Rejected, Warned, WorkerEvent
from outlast.worker.findings import Findings, Problem, find
from outlast.worker.link import LeaseLostError
from outlast.worker.processes import reap_orphans
from outlast.worker.session import Session
from outlast.worker.settings import WorkerSettings

RELOAD_DRAIN = 10.0
"""Seconds that runs of replaced code get to finish their current step."""
logger = logging.getLogger("outlast.worker")

_READY = 10.0  # seconds that new code gets to start before the old one is asked to leave


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
        on_event: Callable[[WorkerEvent], None],
        opened: "asyncio.Future[WorkerSettings] | None",
        groups: Groups | None,
    ) -> None:
        self._groups = groups
        self.manifest = manifest
        self._opened = opened
        self._settings = settings
        self._on_event = on_event
        self._leaving = False
        self.session = self._open()
        self.task = asyncio.create_task(self._run(), name=f"version {manifest.digest[:8]}")

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
        self._opened = opened
        self._settings = settings
        self._on_event = on_event
        self._discover = discover
        self._groups: Groups | None = None
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
        reaping = asyncio.create_task(_reap(), name="reap")
        try:
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
            reaping.cancel()
            await self._end()

    async def reload(self) -> bool:
        """Discover again and go on with what is there now; True when it is another version.

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
                return False
            self._begin(findings)
            await self._replace(old)
            return True

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
            self._settings, findings.manifest, self._on_event, self._opened, self._groups
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
