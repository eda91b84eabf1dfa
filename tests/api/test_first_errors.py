"""Each message of docs/reference/first-errors.md is what the code says, with what to do next."""

import asyncio
import re
import socket
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

import outlast
from api_server import Api, running_api
from fake_worker import FakeWorker, manifest
from outlast.cli import main as command_line
from outlast.cli.backend import _listener
from outlast.cli.folder import Folder
from outlast.cli.terminal import Stop
from outlast.client import runs as requests
from outlast.client.clients import send_sync
from outlast.client.errors import api_error
from outlast.client.settings import settings
from outlast.engine import embedded
from outlast.engine.binaries import wheel_binaries
from outlast.engine.embedded import EmbeddedServer
from outlast.engine.errors import Unavailable
from outlast.sdk.registry import registry
from outlast.server.listening import bind
from outlast.server.settings import ServerSettings, SettingsError
from outlast.worker.findings import find
from outlast.worker.settings import load_settings

PAGE = (Path(__file__).parents[2] / "docs/reference/first-errors.md").read_text()
MESSAGES = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)


@dataclass
class Place:
    """Where a newcomer stands: an empty folder, no settings, a server with one worker."""

    root: Path
    api: Api
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    stack: ExitStack

    async def refused(self, task: str, **body: object) -> str:
        """Trigger and return what the server says."""
        reply = await self.api.client.post(f"/api/v1/tasks/{task}/trigger", json=body)
        assert reply.is_error
        said: str = reply.json()["error"]
        return said

    async def found(self, code: str, name: str = "mail.py", dirs: str = "trigger") -> list[str]:
        """Write a task file and return what discovery says, as the terminal shows it."""
        (self.root / "trigger").mkdir(exist_ok=True)
        (self.root / "trigger" / name).write_text(code)
        (self.root / "pyproject.toml").write_text(f'[tool.outlast]\ndirs = ["{dirs}"]\n')
        found = await find(load_settings(self.root, api_urls=["http://x"], secret_key=""))
        return [str(problem) for problem in found.errors] + list(found.warnings)

    def taken_port(self) -> int:
        listener = self.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port: int = listener.getsockname()[1]
        return port


Provoke: TypeAlias = Callable[[Place], Awaitable[str]]


async def no_server(place: Place) -> str:
    with pytest.raises(outlast.SettingsError) as raised:
        settings()
    return str(raised.value)


async def no_answer(place: Place) -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    place.monkeypatch.setenv("OUTLAST_API_URL", url)
    place.monkeypatch.setenv("OUTLAST_SECRET_KEY", "tr_dev_x")
    with pytest.raises(outlast.TransportError) as raised:
        await asyncio.to_thread(send_sync, requests.retrieve("run_1"), budget=0.5)
    return str(raised.value)


async def wrong_key(place: Place) -> str:
    async with place.api.with_bearer("tr_dev_" + "x" * 32) as client:
        reply = await client.get("/api/v1/runs")
    return str(api_error(reply.status_code, reply.json()["error"]))


async def no_tasks_yet(place: Place) -> str:
    project = await place.api.engine.tenancy.create_project("new", ref="proj_new")
    async with place.api.with_bearer(project.keys["dev"]) as client:
        reply = await client.post("/api/v1/tasks/hello/trigger", json={})
    said: str = reply.json()["error"]
    return said


async def unknown_task(place: Place) -> str:
    return await place.refused("helo")


async def bad_payload(place: Place) -> str:
    schema = '{"type": "object", "properties": {"name": {"type": "string"}}}'
    offered = manifest("greet", digest="digest-2")
    greet = msgspec.structs.replace(offered.tasks[0], payload_schema=schema)
    offered = msgspec.structs.replace(offered, tasks=(greet,))
    engine, environment = place.api.engine, place.api.platform.environment
    await FakeWorker.open(engine, environment, offered, session="session_b")
    return await place.refused("greet", payload={"name": 7})


async def limit_at_trigger(place: Place) -> str:
    with pytest.raises(outlast.UsageError) as raised:
        await outlast.tasks.trigger("hello", concurrency_limit=1)  # type: ignore[call-overload]
    return str(raised.value)


def declared() -> Any:
    @outlast.task("mail")
    async def mail(payload: int) -> None: ...

    return mail


async def called(place: Place) -> str:
    with pytest.raises(outlast.UsageError) as raised:
        declared()(1)
    return str(raised.value)


async def outside(place: Place) -> str:
    with pytest.raises(outlast.OutsideRunError) as raised:
        await declared().trigger_and_wait(1)
    return str(raised.value)


async def sync_in_async(place: Place) -> str:
    place.monkeypatch.setenv("OUTLAST_API_URL", "http://127.0.0.1:1")
    place.monkeypatch.setenv("OUTLAST_SECRET_KEY", "tr_dev_x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(outlast.BlockingCallWarning) as raised:
            declared().trigger_sync(1)
    return str(raised.value)


async def never_awaited(place: Place) -> str:
    with pytest.warns(RuntimeWarning) as told:
        declared().trigger(1)
    return str(told[0].message)


async def no_folder(place: Place) -> str:
    [said] = await place.found("", dirs="jobs")
    return said.removeprefix("jobs: ")


async def no_task(place: Place) -> str:
    [said] = await place.found("x = 1\n")
    return said


async def task_elsewhere(place: Place) -> str:
    task = 'from outlast import task\n\n@task("far")\nasync def far() -> None: ...\n'
    (place.root / "elsewhere.py").write_text(task)
    [said] = await place.found("import elsewhere\n")
    return said


async def broken_file(place: Place) -> str:
    [said, *_] = await place.found("import pandaz\n")
    return said


async def taken_in_dev(place: Place) -> str:
    wanted = ServerSettings(database_url="", encryption_keys=(), port=place.taken_port())
    with _listener(wanted):
        return place.capsys.readouterr().out.strip()


async def taken_by_server(place: Place) -> str:
    wanted = ServerSettings(database_url="", encryption_keys=(), port=place.taken_port())
    with pytest.raises(SettingsError) as raised:
        bind(wanted)
    return str(raised.value)


async def no_database(place: Place) -> str:
    with pytest.raises(SettingsError) as raised:
        ServerSettings.from_environment({})
    return str(raised.value)


async def second_dev(place: Place) -> str:
    folder = Folder(place.root)
    folder.create()
    with folder.owned(), pytest.raises(Stop) as raised, folder.owned():
        pass
    return str(raised.value)


async def lean(place: Place) -> str:
    def missing(_: list[str]) -> None:
        raise ModuleNotFoundError("No module named 'watchfiles'", name="watchfiles")

    place.monkeypatch.setattr(command_line, "app", missing)
    place.monkeypatch.setattr(sys, "argv", ["outlast", "dev"])
    with pytest.raises(SystemExit):
        command_line.main()
    return place.capsys.readouterr().err.strip().removeprefix("outlast: ")


async def silent_database(place: Place) -> str:
    place.monkeypatch.setattr(embedded, "READY_SECONDS", -1.0)
    with pytest.raises(Unavailable) as raised:
        await EmbeddedServer(place.root / ".outlast", binaries=wheel_binaries()).start()
    return str(raised.value)


async def stays_queued(place: Place) -> str:
    await place.api.engine.gateway.close("session_a", goodbye=True)
    run = await place.api.trigger()
    reply = await place.api.client.get(f"/api/v3/runs/{run}")
    said: str = reply.json()["reason"]
    return said


PROVOKED: dict[str, tuple[Provoke, str]] = {
    # what is said, and what the message itself tells to do
    "no server is configured": (no_server, "start `outlast dev`"),
    "… got no answer in … attempts": (no_answer, "is the server running, and the URL right"),
    "Invalid or Missing API key": (wrong_key, "set OUTLAST_SECRET_KEY"),
    "there is no task '…': no worker has registered tasks": (no_tasks_yet, "outlast dev"),
    "there is no task '…' in version …; did you mean": (unknown_task, "'hello'"),
    "the payload does not fit task '…'": (bad_payload, "name"),
    "… concurrency_limit is no option here": (limit_at_trigger, "declare it: Queue("),
    "task … cannot be called": (called, "use .trigger()"),
    "… works inside a task only": (outside, "elsewhere use"),
    "… blocks the running event loop": (sync_in_async, "use `await"),
    "… was never awaited": (never_awaited, "await it"),
    "there is no task folder or package": (no_folder, "outlast init"),
    "no task is declared in …": (no_task, "put @task"),
    "task '…' is declared in …, outside of …": (task_elsewhere, "add its folder to `dirs`"),
    "…/….py:…: ModuleNotFoundError": (broken_file, "No module named 'pandaz'"),
    "port … is taken; this is …": (taken_in_dev, "this is"),
    "OUTLAST_… is not set": (no_database, "begin with `outlast dev`"),
    "cannot listen on …": (taken_by_server, "choose another OUTLAST_PORT"),
    "outlast dev already runs in …": (second_dev, "end it first"),
    "this command needs the … extra": (lean, 'pip install "outlast[dev]"'),
    "PostgreSQL in … did not answer within … s": (silent_database, "set OUTLAST_DATABASE_URL"),
    "no connected worker offers its version": (stays_queued, "worker"),
}


@pytest.fixture
async def place(
    tmp_path: Path,
    fresh_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> AsyncIterator[Place]:
    for prefix in ("OUTLAST", "TRIGGER"):
        for name in ("API_URL", "SECRET_KEY"):
            monkeypatch.delenv(f"{prefix}_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    async with running_api(fresh_url) as api:
        with ExitStack() as stack, registry.isolated():
            yield Place(tmp_path, api, monkeypatch, capsys, stack)


def test_the_page_tells_all_and_only_what_is_shown_here() -> None:
    assert list(PROVOKED) == MESSAGES


@pytest.mark.parametrize("message", MESSAGES)
async def test_a_first_error_is_as_the_page_says_and_tells_what_to_do(
    place: Place, message: str
) -> None:
    provoke, advice = PROVOKED[message]

    said = await provoke(place)

    assert re.match(re.escape(message).replace("…", ".+"), said), said
    assert advice in said
