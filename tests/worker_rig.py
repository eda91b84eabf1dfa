"""A worker with stub executors on a fake server, and what the executors noted."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from fake_server import FakeServer
from outlast.protocol.frames import Kind
from outlast.protocol.manifests import Manifest, TaskManifest
from outlast.protocol.messages import Capacity
from outlast.worker import events
from outlast.worker.findings import Findings
from outlast.worker.settings import WorkerSettings
from outlast.worker.supervisor import Worker
from polling import until

STUB = Path(__file__).with_name("stub_executor.py")
SECRET = "tr_dev_" + "x" * 32


def manifest(digest: str = "d1", *, dedicated: bool = False) -> Manifest:
    task = TaskManifest(
        id="quick",
        executor="dedicated" if dedicated else "shared",
        file="trigger/quick.py",
        function="quick",
        queue="task/quick",
    )
    return Manifest(digest=digest, tasks=(task,), queues=(), runtime="python 3.11", sdk="0")


class Rig:
    """A worker with a stub executor on a fake server."""

    def __init__(self, server: FakeServer, root: Path, **options: Any) -> None:
        self.server = server
        self.root = root
        self.events: list[events.WorkerEvent] = []
        self.findings = Findings(manifest())
        self.stop = asyncio.Event()
        self.settings = WorkerSettings(
            **{
                "api_urls": (server.url,),
                "secret_key": SECRET,
                "project_root": root,
                "processes": 2,
                "drain": 5.0,
                "executor_command": (sys.executable, str(STUB)),
                **options,
            }
        )
        self.worker = Worker(self.settings, on_event=self.events.append, discover=self.discover)

    async def discover(self, settings: WorkerSettings) -> Findings:
        return self.findings

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Rig"]:
        job = asyncio.create_task(self.worker.run(self.stop))
        try:
            await until(lambda: job.done() or self.told(events.Ready), what="ready")
            yield self
        finally:
            self.stop.set()
            await job

    def told(self, kind: type[events.WorkerEvent]) -> list[Any]:
        return [each for each in self.events if isinstance(each, kind)]

    def notes(self, kind: str, run: str | None = None) -> list[dict[str, Any]]:
        file = self.root / "notes.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        notes = [json.loads(line) for line in lines]
        return [each for each in notes if each["kind"] == kind and run in (None, each["run"])]

    async def noted(self, kind: str, run: str | None = None, count: int = 1) -> dict[str, Any]:
        await until(lambda: len(self.notes(kind, run)) >= count, what=f"{count} x {kind} {run}")
        return self.notes(kind, run)[count - 1]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def capacity_is(server: FakeServer, **capacity: int) -> None:
    def last() -> dict[str, int]:
        told = server.said(Kind.CAPACITY)
        return msgspec.msgpack.decode(told[-1].body, type=Capacity).capacity if told else {}

    await until(lambda: capacity.items() <= last().items(), what=f"capacity {capacity}")
