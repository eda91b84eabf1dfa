"""A stream of items that breaks off on a real connection, and is sent again."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from api_server import Api
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
