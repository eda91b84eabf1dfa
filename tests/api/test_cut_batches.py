"""A stream of items that breaks off on a real connection, and is sent again."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from api_server import Api
from outlast import BatchTriggerError, TaskRef, batch
from outlast.client import clients, requests, settings
from outlast.sdk.batches import TaskItem
from outlast.sdk.handles import BatchHandle
from outlast.server.app import create_app
from outlast.server.listening import Bound, bind, listening
from outlast.server.settings import ServerSettings

ITEMS = 600
PORTION = 250  # what the server hands over at once


@pytest.fixture
async def bound(api: Api) -> AsyncIterator[Bound]:
    settings = ServerSettings(database_url=api.platform.url, encryption_keys=(), port=0)
    async with listening(api.app, bind(settings)) as found:
        yield found


@pytest.fixture
async def client(api: Api, bound: Bound) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=bound.url, headers={"authorization": f"Bearer {api.key}"}, trust_env=False
    ) as made:
        yield made


def line(index: int) -> bytes:
    return json.dumps({"index": index, "task": "hello", "payload": index}).encode() + b"\n"


async def cut(bound: Bound, key: str, path: str, said: bytes) -> asyncio.StreamWriter:
    """Send the beginning of a chunked body and leave the socket open."""
    _, writer = await asyncio.open_connection(bound.host, bound.port)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {bound.host}\r\nauthorization: Bearer {key}\r\n"
        "content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    writer.write(head.encode() + f"{len(said):x}\r\n".encode() + said + b"\r\n")
    await writer.drain()
    return writer


async def test_a_stream_cut_in_the_middle_of_a_line_goes_on_where_it_is_sent_again(
    api: Api, bound: Bound, client: httpx.AsyncClient
) -> None:
    made = await client.post("/api/v3/batches", json={"runCount": ITEMS})
    batch = made.json()["id"]
    path = f"/api/v3/batches/{batch}/items"
    half = line(PORTION + 50)[:-4]  # reads as an item no more

    writer = await cut(bound, api.key, path, b"".join(map(line, range(PORTION + 50))) + half)
    deadline = time.monotonic() + 20
    while len((found := await client.get(f"/api/v2/batches/{batch}")).json()["runs"]) < PORTION:
        assert time.monotonic() < deadline, found.text
        await asyncio.sleep(0.05)
    writer.transport.abort()
    again = await client.post(
        path,
        content=b"".join(map(line, range(ITEMS))),
        headers={"content-type": "application/x-ndjson"},
    )

    assert found.json()["status"] == "PROCESSING"
    said = again.json()
    assert (said["itemsAccepted"], said["itemsDeduplicated"]) == (ITEMS - PORTION, PORTION)
    assert said["sealed"] is True
    runs = (await client.get(f"/api/v2/batches/{batch}")).json()["runs"]
    assert len(runs) == len(set(runs)) == ITEMS
    assert runs[:PORTION] == found.json()["runs"]
    rows = await api.platform.sql("select payload from outlast.run")
    assert sorted(int(row["payload"]) for row in rows) == list(range(ITEMS))


class Wire:
    """A connection to a server that breaks off when a stream of items is half through.

    It may lead to another server from then on, while the first still works on what it has.
    """

    def __init__(self, target: Bound, *, then: Bound | None = None, cuts: int = 1) -> None:
        self.target = target
        self.then = then or target
        self.cuts = cuts
        self.url = ""
        self._forwarding: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self.target.host, self.target.port)
        answers = asyncio.create_task(self._copy(there, writer))
        self._forwarding.add(answers)
        seen = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                is_items = seen or b"/items" in data
                seen = seen + len(data) if is_items else 0
                if self.cuts and seen > LENGTH // 2:
                    self.cuts -= 1
                    self.target = self.then
                    break
                back.write(data)
                await back.drain()
        answers.cancel()
        for each in (back, writer):
            each.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()


SIZE = 1000
LENGTH = SIZE * 60  # bytes, about
hello, other = TaskRef[int, None]("hello"), TaskRef[int, None]("a/b c")


@asynccontextmanager
async def wired(wire: Wire, api: Api) -> AsyncIterator[None]:
    async with await asyncio.start_server(wire.serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        with settings.using(settings.make(f"http://{host}:{port}", api.key)):
            yield
            await clients.aclose()


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "FIRST_WAIT", 0.01)


@pytest.fixture
async def second(api: Api) -> AsyncIterator[Bound]:
    """Return another server on the database."""
    settings = ServerSettings(database_url=api.platform.url, encryption_keys=(), port=0)
    app = create_app(settings, await api.platform.server())
    async with listening(app, bind(settings)) as found:
        yield found


async def numbers() -> AsyncIterator[int]:
    for number in range(SIZE):
        yield number


def mixed() -> list[TaskItem[None]]:
    return [(other if number % 2 else hello).item(number) for number in range(SIZE)]


async def blocking() -> BatchHandle[None]:
    return await asyncio.to_thread(hello.batch_trigger_sync, range(SIZE))


WAYS: dict[str, Callable[[], Awaitable[BatchHandle[Any]]]] = {
    "an async iterator": lambda: hello.batch_trigger(numbers()),
    "an iterator": lambda: hello.batch_trigger(iter(range(SIZE))),
    "blocking": blocking,
    "several tasks": lambda: batch.trigger(*mixed()),
}


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("way", WAYS)
async def test_a_thousand_items_are_runs_once_though_connection_and_server_change(
    api: Api, bound: Bound, second: Bound, way: str
) -> None:
    async with wired(wire := Wire(bound, then=second), api):
        made = await WAYS[way]()
        found = await batch.retrieve(made.id or "")

    assert wire.cuts == 0
    assert (found.status, found.run_count, made.size) == ("COMPLETED", SIZE, SIZE)
    rows = await api.platform.sql("select id, task, payload from outlast.run")
    payloads = {row["id"]: (row["task"], int(row["payload"])) for row in rows}
    tasks = ("hello", "a/b c") if way == "several tasks" else ("hello", "hello")
    assert [payloads[run] for run in found.runs] == [(tasks[n % 2], n) for n in range(SIZE)]
    assert len(rows) == SIZE


@pytest.mark.usefixtures("hurry")
async def test_a_batch_whose_caller_gave_up_is_filled_by_the_next_call_with_its_key(
    api: Api, bound: Bound
) -> None:
    async with wired(Wire(bound, cuts=1000), api):
        with pytest.raises(BatchTriggerError, match="the batch of 1000 runs was not triggered"):
            await hello.batch_trigger(range(SIZE), idempotency_key="all")
    async with wired(Wire(bound, cuts=0), api):
        filled = await hello.batch_trigger(range(SIZE), idempotency_key="all")
        again = await hello.batch_trigger(range(SIZE), idempotency_key="all")

    assert (filled.is_cached, again.is_cached, again.id) == (False, True, filled.id)
    [row] = await api.platform.sql("select count(*) as runs from outlast.run")
    assert row["runs"] == SIZE
