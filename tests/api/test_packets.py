"""Packets: the handshakes of the official client, and addresses that open one thing for a while."""

import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
import pytest

from api_server import Api, running_api
from outlast.engine.objects import ObjectSettings, ObjectStore
from outlast.engine.packets import Packet, Packets

PATH = "trigger/packet_abc/payload.json"
VALUE = '{"json":{"n":1}}'
SUPER = "application/super+json"


async def upload(api: Api, path: str = PATH) -> dict[str, Any]:
    reply = await api.client.put(f"/api/v2/packets/{quote(path, safe='')}")
    assert reply.status_code == 200, reply.text
    made: dict[str, Any] = reply.json()
    return made


def stranger(api: Api) -> httpx.AsyncClient:
    """Return a client without a key."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=api.app))


async def put(api: Api, url: str, data: str = VALUE, kind: str = SUPER) -> httpx.Response:
    async with stranger(api) as client:
        return await client.put(url, content=data, headers={"content-type": kind})


async def test_a_trigger_takes_what_was_uploaded_before_it(api: Api) -> None:
    """The run has the value itself, with its own type."""
    made = await upload(api)
    assert made["storagePath"] == PATH
    assert (await put(api, made["presignedUrl"])).status_code == 200

    body = {"payload": PATH, "options": {"payloadType": "application/store"}}
    reply = await api.client.post("/api/v1/tasks/hello/trigger", json=body)
    assert reply.status_code == 200, reply.text
    run = (await api.client.get(f"/api/v3/runs/{reply.json()['id']}")).json()

    assert run["payload"] == {"n": 1}


@pytest.mark.parametrize("scope", ["trigger:tasks", "write:tasks", "write:packets", "read:all"])
async def test_a_token_of_a_browser_uploads_nothing(api: Api, scope: str) -> None:
    """What it may trigger has its payload in the request, where a limit holds for each."""
    minted = await api.engine.tokens.mint(api.platform.environment, (scope,), seconds=60)

    async with api.with_bearer(minted) as browser:
        refused = await browser.put(f"/api/v2/packets/{quote(PATH, safe='')}")

    assert refused.status_code == 403


async def test_a_path_that_nothing_was_uploaded_to_is_refused(api: Api) -> None:
    body = {"payload": "nowhere", "options": {"payloadType": "application/store"}}
    reply = await api.client.post("/api/v1/tasks/hello/trigger", json=body)

    assert (reply.status_code, reply.json()["code"]) == (422, "unknown_packet")


async def test_a_download_has_the_exact_type_it_was_uploaded_with(api: Api) -> None:
    """A charset behind it would break the official client."""
    await put(api, (await upload(api))["presignedUrl"])

    handshake = await api.client.get(f"/api/v1/packets/{quote(PATH, safe='')}")
    async with stranger(api) as client:
        found = await client.get(handshake.json()["presignedUrl"])

    assert found.headers["content-type"] == SUPER
    assert found.text == VALUE


async def test_a_runs_payload_is_downloaded_by_its_id(api: Api) -> None:
    reply = await api.client.post("/api/v1/tasks/hello/trigger", json={"payload": {"n": 2}})
    run = reply.json()["id"]

    handshake = await api.client.get(f"/api/v1/runs/{run}/packets/payload")
    async with stranger(api) as client:
        found = await client.get(handshake.json()["presignedUrl"])
        none = await api.client.get(f"/api/v1/runs/{run}/packets/output")
        missing = await client.get(none.json()["presignedUrl"])

    assert (found.text, found.headers["content-type"]) == ('{"n":2}', "application/json")
    assert missing.status_code == 404


async def test_an_address_opens_nothing_else(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the other way round, not changed, not later."""
    address = (await upload(api))["presignedUrl"]
    async with stranger(api) as client:
        assert (await client.get(address)).status_code == 404
        changed = address[:-2] + ("AA" if address[-2:] != "AA" else "BB")
        assert (await client.put(changed, content=b"{}")).status_code == 404
    monkeypatch.setattr("outlast.engine.packets.time.time", lambda: 4e9)
    assert (await put(api, address)).status_code == 404


@pytest.mark.parametrize(
    ("data", "kind", "status"),
    [("x" * (3 * 1024 * 1024 + 1), "text/plain", 413), ("{}", "text/html", 422)],
)
async def test_what_is_no_payload_is_not_taken(api: Api, data: str, kind: str, status: int) -> None:
    assert (await put(api, (await upload(api))["presignedUrl"], data, kind)).status_code == status


class FakeS3(BaseHTTPRequestHandler):
    """A bucket that asks for a signature, over real HTTP."""

    objects: dict[str, tuple[str, bytes]]

    def do_PUT(self) -> None:
        if not self._is_signed():
            return
        data = self.rfile.read(int(self.headers["content-length"]))
        self.objects[urlsplit(self.path).path] = (self.headers["content-type"], data)
        self._answer(200, "text/plain", b"")

    def do_DELETE(self) -> None:
        if self._is_signed():
            del self.objects[urlsplit(self.path).path]
            self._answer(204, "text/plain", b"")

    def do_GET(self) -> None:
        if not self._is_signed():
            return
        if "list-type=2" in self.path:
            self._list(dict(parse_qsl(urlsplit(self.path).query)))
            return
        found = self.objects.get(urlsplit(self.path).path)
        if found is None:
            missing = b"<Error><Code>NoSuchKey</Code></Error>"
            self._answer(404, "application/xml", missing)
        else:
            self._answer(200, *found)

    def _list(self, query: dict[str, str]) -> None:
        """Answer with one object a page, of the year 2000 when its path says so."""
        keys = sorted(path.removeprefix("/packets/") for path in self.objects)
        start = query.get("continuation-token", "")
        keys = [key for key in keys if key.startswith(query["prefix"]) and key > start]
        shown = "".join(
            f"<Contents><Key>{key}</Key><LastModified>{'2000' if 'old' in key else '2100'}"
            "-01-01T00:00:00Z</LastModified></Contents>"
            for key in keys[:1]
        )
        more = f"<NextContinuationToken>{keys[0]}</NextContinuationToken>" if keys else ""
        said = f"<IsTruncated>{'true' if len(keys) > 1 else 'false'}</IsTruncated>{shown}{more}"
        self._answer(
            200, "application/xml", f"<ListBucketResult>{said}</ListBucketResult>".encode()
        )

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep quiet."""

    def _is_signed(self) -> bool:
        signed = "X-Amz-Signature=" in self.path or "Signature=" in self.headers.get(
            "authorization", ""
        )
        if not signed:
            self._answer(403, "application/xml", b"<Error><Code>AccessDenied</Code></Error>")
        return signed

    def _answer(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def bucket() -> Iterator[ObjectSettings]:
    handler = type("Handler", (FakeS3,), {"objects": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield ObjectSettings(
        bucket="packets",
        endpoint=f"http://127.0.0.1:{server.server_port}",
        access_key="access",
        secret_key="secret",
    )
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
async def with_bucket(fresh_url: str, bucket: ObjectSettings) -> AsyncIterator[Api]:
    async with running_api(fresh_url) as api:
        packets = Packets(ObjectStore(bucket), api.engine._ring)
        api.engine.packets = api.engine.triggers._packets = packets
        yield api


async def test_a_bucket_takes_uploads_and_gives_downloads_itself(
    with_bucket: Api, bucket: ObjectSettings
) -> None:
    """The server only signs, and reads what a trigger names."""
    api = with_bucket
    made = await upload(api)
    assert made["presignedUrl"].startswith(f"{bucket.endpoint}/packets/env_")

    async with httpx.AsyncClient() as client:
        put = await client.put(made["presignedUrl"], content=VALUE, headers={"content-type": SUPER})
        assert put.status_code == 200

    body = {"payload": PATH, "options": {"payloadType": "application/store"}}
    reply = await api.client.post("/api/v1/tasks/hello/trigger", json=body)
    run = (await api.client.get(f"/api/v3/runs/{reply.json()['id']}")).json()
    handshake = await api.client.get(f"/api/v1/packets/{quote(PATH, safe='')}")
    async with httpx.AsyncClient() as client:
        found = await client.get(handshake.json()["presignedUrl"])

    assert run["payload"] == {"n": 1}
    assert (found.text, found.headers["content-type"]) == (VALUE, SUPER)
    missing = {"payload": "other", "options": {"payloadType": "application/store"}}
    refused = await api.client.post("/api/v1/tasks/hello/trigger", json=missing)
    assert refused.json()["code"] == "unknown_packet"


async def test_packets_in_a_bucket_go_after_a_week_and_nothing_else_does(
    bucket: ObjectSettings,
) -> None:
    """The bucket may hold other people's objects too."""
    store = ObjectStore(bucket)
    for environment in ("env_a", "env_ab", "elsewhere"):
        for path in ("old/1", "old/2", "young"):
            await store.save(environment, path, Packet("text/plain", "x"))

    gone = await store.prune(["env_a", "env_none"])

    assert gone == 2
    assert [await store.find("env_a", path) for path in ("old/1", "old/2")] == [None, None]
    assert await store.find("env_a", "young") is not None
    assert await store.find("env_ab", "old/1") is not None
    assert await store.find("elsewhere", "old/1") is not None


async def test_packets_in_the_database_go_after_a_week(api: Api) -> None:
    for path in ("old", "young"):
        await put(api, (await upload(api, path))["presignedUrl"])
    await api.platform.sql(
        "update outlast.packet set created_at = now() - interval '8 days' where path = 'old'"
    )

    assert await api.engine._packets.prune() == 1

    rows = await api.platform.sql("select path from outlast.packet")
    assert [row["path"] for row in rows] == ["young"]
