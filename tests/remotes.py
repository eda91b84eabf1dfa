"""Executor processes, as a server in the test's own process sees them."""

import asyncio
import os
import textwrap
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from outlast.protocol.frames import Frame, Kind, frame
from outlast.protocol.manifests import ExecutorKind
from outlast.protocol.messages import Beat
from outlast.worker.processes import Config, Launch, Process
from polling import until
from stage import Server

Boot = Callable[..., Server]


class Remote:
    """An executor process, as the server in this process sees it."""

    def __init__(self, server: Server, root: Path, kind: ExecutorKind, **settings: Any) -> None:
        self.ready = asyncio.Event()
        self.code: int | None = None
        self.crashes: list[Frame] = []
        self._server = server
        config = Config(
            root=str(root),
            dirs=("trigger",),
            kind=kind,
            **{"replay_always": False, "warm_wait": 600, "sync_warm_wait": 30, **settings},
        )
        launch = Launch(config, {**os.environ, "PYTHONHASHSEED": "1"})
        self.process = Process(launch, on_frames=self._frames, on_exit=self._exited)
        self.process.send([frame(Kind.BEAT, Beat())])

    def receive(self, frames: list[Frame]) -> None:
        self.process.send(frames)

    def _frames(self, frames: list[Frame]) -> None:
        for each in frames:
            if each.kind == Kind.READY:
                self.ready.set()
            elif each.kind == Kind.CRASH:
                self.crashes.append(each)
            else:
                self._server.receive(each)

    def _exited(self, code: int) -> None:
        self.code = code


@asynccontextmanager
async def booting(root: Path, modules: Mapping[str, str]) -> AsyncIterator[Boot]:
    """Give what starts executors of a project with these task modules; end them afterwards."""
    (root / "trigger").mkdir()
    for name, source in modules.items():
        (root / "trigger" / name).write_text(textwrap.dedent(source))
    remotes: list[Remote] = []

    def start(kind: ExecutorKind, server: Server | None = None, **settings: Any) -> Server:
        def create(server: Server) -> Remote:
            remotes.append(Remote(server, root, kind, **settings))
            return remotes[-1]

        if server is None:
            return Server(create)
        server.executor = create(server)
        return server

    yield start
    for each in remotes:
        each.process.kill()
    await until(lambda: all(each.code is not None for each in remotes))


def remote(server: Server) -> Remote:
    assert isinstance(server.executor, Remote)
    return server.executor
