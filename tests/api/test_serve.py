"""A whole server on a real port: it starts, takes workers, and ends in order."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from engines import KEY
from fake_worker import manifest
from outlast.engine.engine import Engine, EngineSettings
from outlast.engine.errors import SchemaMismatch
from outlast.protocol.frames import PROTOCOL, Frame, Kind, frame, pack, unpack
from outlast.protocol.messages import Heartbeat, Hello, Welcome
from outlast.server.listening import Bound, bind
from outlast.server.run import serve
from outlast.server.settings import ServerSettings, SettingsError
from postgres import administrate, url_of


def settings_of(url: str, port: int = 0) -> ServerSettings:
    return ServerSettings(
        database_url=url, encryption_keys=(KEY,), port=port, migrate=False, drain_seconds=0.0
    )


async def root_key(url: str) -> str:
    """Make a project and return the key of its dev environment."""
    engine = await Engine.open(
        EngineSettings(database_url=url, server_id="maker", encryption_keys=(KEY,), migrate=False)
    )
    try:
        made = await engine.tenancy.create_project("test", ref="proj_test")
    finally:
        await engine.close()
    return made.keys["dev"]


class Running:
    """A server that runs inside the test."""

    def __init__(self, bound: Bound, stop: asyncio.Event, task: "asyncio.Task[None]") -> None:
        self.bound = bound
        self.stop = stop
        self.task = task

    @property
    def worker_url(self) -> str:
        return self.bound.url.replace("http", "ws") + "/api/outlast/v1/worker"


@asynccontextmanager
async def running(settings: ServerSettings) -> AsyncIterator[Running]:
    stop = asyncio.Event()
    bound: asyncio.Future[Bound] = asyncio.get_running_loop().create_future()
    listener = bind(settings)
    task = asyncio.create_task(
        serve(settings, stop=stop, started=bound.set_result, listener=listener)
    )
    try:
        either: set[asyncio.Future[Any]] = {task, bound}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield Running(bound.result(), stop, task)
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await task


def hello() -> bytes:
    body = Hello(
        protocol=PROTOCOL,
        session="session_1",
        name="w",
        host="h",
        pid=1,
        manifest=manifest("hello"),
        capacity={"shared": 1},
    )
    return pack([frame(Kind.HELLO, body)])


async def receive(socket: ClientConnection) -> list[Frame]:
    async with asyncio.timeout(5):
        message = await socket.recv()
    assert isinstance(message, bytes)
    return unpack(message)


async def test_a_server_serves_until_it_is_stopped(fresh_url: str) -> None:
    key = await root_key(fresh_url)

    async with running(settings_of(fresh_url)) as server:
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=server.bound.url, headers=headers) as client:
            ready = await client.get("/readyz")
            environment = await client.get("/api/outlast/v1/environment")
            foreign = await client.get("/readyz", headers={"host": "evil.com"})

    assert ready.status_code == 200
    assert environment.json()["slug"] == "dev"
    assert foreign.status_code == 421
    with pytest.raises(OSError, match=r"refused|Connect"):
        await asyncio.open_connection(server.bound.host, server.bound.port)


async def test_a_server_that_is_not_to_migrate_leaves_the_database_alone(
    database_url: str,
) -> None:
    name = f"outlast_bare_{uuid.uuid4().hex[:12]}"
    await administrate(database_url, f"create database {name}")
    try:
        with pytest.raises(SchemaMismatch, match="no schema yet"):
            async with running(settings_of(url_of(database_url, name))):
                pass
    finally:
        await administrate(database_url, f"drop database {name} with (force)")


async def test_a_worker_connects_triggers_reach_it_and_a_stop_sends_it_elsewhere(
    fresh_url: str,
) -> None:
    key = await root_key(fresh_url)
    headers = {"authorization": f"Bearer {key}"}

    async with (
        running(settings_of(fresh_url)) as server,
        websockets.connect(
            server.worker_url, additional_headers=headers, compression=None
        ) as socket,
        httpx.AsyncClient(base_url=server.bound.url, headers=headers) as client,
    ):
        await socket.send(hello())
        [welcome] = await receive(socket)
        await socket.send(pack([frame(Kind.HEARTBEAT, Heartbeat(""))]))
        [beat] = await receive(socket)
        run = (await client.post("/api/v1/tasks/hello/trigger", json={"payload": 1})).json()["id"]
        [claim] = await receive(socket)
        server.stop.set()
        [goodbye] = await receive(socket)

    assert msgspec.msgpack.decode(welcome.body, type=Welcome).environment_slug == "dev"
    assert beat.kind == Kind.BEAT
    assert (claim.kind, claim.run) == (Kind.CLAIM, run)
    assert goodbye.kind == Kind.GOODBYE


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer tr_dev_wrong"}, 401),
        ({"authorization": "Bearer {key}", "origin": "http://localhost"}, 403),
        ({"cookie": "session=1"}, 401),
    ],
)
async def test_a_handshake_that_is_not_a_workers_is_refused(
    fresh_url: str, headers: dict[str, str], status: int
) -> None:
    key = await root_key(fresh_url)
    given = {name: value.format(key=key) for name, value in headers.items()}

    async with running(settings_of(fresh_url)) as server:
        with pytest.raises(websockets.InvalidStatus) as refusal:
            async with websockets.connect(server.worker_url, additional_headers=given):
                pass

    assert refusal.value.response.status_code == status


async def test_a_taken_port_is_an_error_that_names_the_setting(fresh_url: str) -> None:
    with bind(settings_of(fresh_url)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(SettingsError, match="OUTLAST_PORT"):
            bind(settings_of(fresh_url, port))
