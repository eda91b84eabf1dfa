"""The gate plays doorkeeper: what an attacker sends is refused before any route sees it."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message, Scope
from starlette.websockets import WebSocket

from outlast.protocol.nesting import MAX_DEPTH
from outlast.server.gate import MAX_BODY_BYTES, Gate, host_name

HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


async def echo(request: Request) -> Response:
    body = await request.body()
    return JSONResponse({"size": len(body), "cookie": request.headers.get("cookie")})


async def page(_: Request) -> Response:
    return PlainTextResponse("page", headers={"content-security-policy": "default-src 'self'"})


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


def make_app() -> Gate:
    methods = ["GET", "POST", "PUT", "DELETE"]
    routes = [
        Route("/api/v1/echo", echo, methods=methods),
        Route("/api/outlast/v1/echo", echo, methods=methods),
        Route("/api/v3/batches/{id}/items", echo, methods=methods),
        Route("/page", page, methods=methods),
        WebSocketRoute("/api/outlast/v1/worker", socket),
    ]
    return Gate(Starlette(routes=routes), hosts=HOSTS)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(make_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8710") as client:
        yield client


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9", "127.0.0.1:80", "[::1]:5", "LOCALHOST"]
)
async def test_configured_hosts_pass(client: httpx.AsyncClient, host: str) -> None:
    reply = await client.get("/page", headers={"host": host})

    assert reply.status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.com", "localhost.evil.com", "127.0.0.1.nip.io", "", "[::2]", "evil.com#localhost"],
)
async def test_a_foreign_host_is_refused_whatever_it_asks(
    client: httpx.AsyncClient, host: str
) -> None:
    for path in ("/page", "/api/v1/echo", "/healthz"):
        reply = await client.get(path, headers={"host": host})

        assert reply.status_code == 421
        assert reply.json()["code"] == "unknown_host"
        assert reply.headers["x-should-retry"] == "false"


async def test_two_host_headers_name_no_host(client: httpx.AsyncClient) -> None:
    headers = [("host", "localhost"), ("host", "evil.com")]

    reply = await client.get("/page", headers=headers)

    assert reply.status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.com"},
        {"origin": "http://evil.com", "cookie": "session=1"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"cookie": "session=1"},
    ],
)
async def test_a_state_change_from_elsewhere_is_refused(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    reply = await client.post("/page", headers=headers)

    assert reply.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost:8710", "cookie": "session=1"},
        {"sec-fetch-site": "same-origin", "cookie": "session=1"},
        {},
    ],
)
async def test_a_state_change_from_the_same_origin_passes(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    reply = await client.post("/page", headers=headers)

    assert reply.status_code == 200


async def test_the_api_never_sees_a_cookie(client: httpx.AsyncClient) -> None:
    reply = await client.post("/api/v1/echo", headers={"cookie": "session=1"})

    assert reply.json()["cookie"] is None


@pytest.mark.parametrize(
    "query", ["token=x", "a=1&api_key=x", "access_token=", "x=tr_dev_abc", "Key=1"]
)
async def test_credentials_in_the_query_are_refused(client: httpx.AsyncClient, query: str) -> None:
    reply = await client.get(f"/api/v1/echo?{query}")

    assert reply.status_code == 400
    assert reply.json()["code"] == "credential_in_query"
    assert "tr_dev" not in reply.text


async def test_other_queries_pass(client: httpx.AsyncClient) -> None:
    reply = await client.get("/api/v1/echo?page[size]=3&filter[tag]=token&monkey=1")

    assert reply.status_code == 200


async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient) -> None:
    reply = await client.post("/api/v1/echo", content=b"x" * (MAX_BODY_BYTES + 1))

    assert reply.status_code == 413
    assert reply.json()["error"] == "Request body too large"


async def test_a_chunked_body_is_counted_as_it_comes(client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536

    reply = await client.post("/api/v1/echo", content=endless())

    assert reply.status_code == 413


async def test_a_body_within_the_limit_arrives_whole(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 1000

    reply = await client.post("/api/v1/echo", content=chunks())

    assert reply.json()["size"] == 10_000


async def test_deep_json_is_refused(client: httpx.AsyncClient) -> None:
    body = b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)

    reply = await client.post(
        "/api/v1/echo", content=body, headers={"content-type": "application/json"}
    )

    assert reply.status_code == 400
    assert reply.json()["code"] == "too_deep"


async def test_the_item_stream_is_left_to_its_route(client: httpx.AsyncClient) -> None:
    body = b"x" * (MAX_BODY_BYTES + 1)

    reply = await client.post("/api/v3/batches/batch_1/items", content=body)

    assert reply.json()["size"] == len(body)


async def handshake(headers: dict[str, str]) -> list[Message]:
    """Return what the application sends to a WebSocket handshake."""
    sent: list[Message] = []
    scope: Scope = {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "path": "/api/outlast/v1/worker",
        "raw_path": b"/api/outlast/v1/worker",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await make_app()(scope, receive, send)
    return sent


async def test_a_socket_without_origin_opens() -> None:
    sent = await handshake({"host": "localhost"})

    assert sent[0]["type"] == "websocket.accept"


async def test_a_socket_that_a_browser_opens_is_refused() -> None:
    sent = await handshake({"host": "localhost", "origin": "http://localhost"})

    assert sent[0]["status"] == 403


async def test_a_socket_to_a_foreign_host_is_refused() -> None:
    sent = await handshake({"host": "evil.com"})

    assert sent[0]["status"] == 421


async def test_browsers_may_call_the_public_api_from_anywhere(client: httpx.AsyncClient) -> None:
    asked = "authorization, x-trigger-api-version, x-evil"

    preflight = await client.options(
        "/api/v1/echo",
        headers={"origin": "http://app.com", "access-control-request-headers": asked},
    )
    reply = await client.get("/api/v1/echo", headers={"origin": "http://app.com"})

    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    allowed = preflight.headers["access-control-allow-headers"]
    assert allowed == "authorization, x-trigger-api-version"
    assert reply.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in reply.headers


async def test_browsers_of_other_origins_may_not_read_our_own_api(
    client: httpx.AsyncClient,
) -> None:
    reply = await client.get("/api/outlast/v1/echo", headers={"origin": "http://app.com"})

    assert "access-control-allow-origin" not in reply.headers


async def test_every_answer_carries_the_security_headers(client: httpx.AsyncClient) -> None:
    for path in ("/api/v1/echo", "/nowhere"):
        reply = await client.get(path)

        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
        assert reply.headers["cache-control"] == "no-store"


async def test_a_page_keeps_its_own_policy(client: httpx.AsyncClient) -> None:
    reply = await client.get("/page")

    assert reply.headers["content-security-policy"] == "default-src 'self'"


def test_host_names_lose_their_port() -> None:
    assert [host_name(host) for host in ("a:1", "a", "[::1]:2", "[::1]")] == [
        "a", "a", "[::1]", "[::1]",
    ]  # fmt: skip
