"""The one gate that every request passes, before anything else looks at it.

It refuses foreign `Host` names (DNS rebinding), credentials in a query string, state changes from
other origins, WebSocket handshakes that a browser made, bodies that are too large or nested too
deep; it hides cookies from the API and puts the security headers on every response.
"""

import re
import time
from collections.abc import MutableMapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from outlast.engine.payloads import MAX_PAYLOAD_BYTES
from outlast.protocol.nesting import MAX_DEPTH, is_too_deep
from outlast.protocol.waitpoints import is_callback
from outlast.server.problems import Problem, respond
from outlast.server.rates import ALLOWANCE

MAX_BODY_BYTES = 2 * MAX_PAYLOAD_BYTES + 512 * 1024
"""Largest request body: a payload is text inside JSON, where escapes can double it."""

API_PATHS = ("/api/", "/realtime/", "/engine/")
"""What belongs to the API; every other path is a page."""
_OWN_API = "/api/outlast/"  # not for browsers of other origins
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_CREDENTIAL = re.compile(
    rb"(?:^|&)(?:access_token|api_key|apikey|auth|authorization|jwt|password|secret|secret_key"
    rb"|token|key)=|tr_(?:dev|stg|prod|preview|pat)_",
    re.IGNORECASE,
)
_STREAMED = re.compile(
    r"/api/v3/batches/.*/items|/realtime/v1/streams/[^/]+/(?:self|parent|root)/[^/]+"
)
_CORS_HEADER = re.compile(
    r"(?:authorization|content-type|trigger-version|x-trigger-[a-z0-9-]+|last-event-id"
    r"|timeout-seconds|cache-control|idempotency-key|idempotency-key-ttl|traceparent|tracestate)"
)


Headers = MutableMapping[bytes, bytes]


class Gate:
    """ASGI middleware around the whole server."""

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if scope["type"] == "http":
            send = _with_headers(send, scope)
        headers = _single(scope)
        problem = self._refuse(scope, headers)
        if problem is not None:
            await respond(problem, scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        if path.startswith(API_PATHS):
            _hide_cookies(scope)
            if scope["method"] == "OPTIONS" and _is_for_browsers(path):
                await _preflight(headers, send)
                return
        if _has_body(headers) and not streams(path):
            body = await _read(receive)
            problem = _refuse_body(body, headers)
            if problem is not None:
                await respond(problem, scope, receive, send)
                return
            receive = _replay(body or b"", receive)
        await self._app(scope, receive, send)

    def _refuse(self, scope: Scope, headers: Headers) -> Problem | None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if host_name(host) not in self._hosts:
            return Problem(
                421, "unknown_host", "this server is not configured for the host of the request"
            )
        if "\0" in scope["path"]:
            return Problem(404, "not_found", "Not Found")  # nothing that is stored has this name
        if scope["query_string"] and _CREDENTIAL.search(scope["query_string"]):
            return Problem(
                400,
                "credential_in_query",
                "credentials are not taken from a query string; send an Authorization header",
            )
        if scope["type"] == "websocket":
            if b"origin" in headers:
                return Problem(403, "browser_refused", "workers do not send an Origin header")
        elif _changes_a_page(scope) and not _same_origin(headers, host):
            return Problem(403, "foreign_origin", "this request must come from the same origin")
        return None


def host_name(host: str) -> str:
    """Return the name in a `Host` header, without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def streams(path: str) -> bool:
    """Return whether the body of this path is read piece by piece, with limits of its own."""
    return _STREAMED.fullmatch(path) is not None


def _single(scope: Scope) -> Headers:
    """Return the headers; a repeated `Host` names no host at all."""
    headers: Headers = {}
    for name, value in scope["headers"]:
        headers[name] = b"" if name == b"host" and name in headers else value
    return headers


def _changes_a_page(scope: Scope) -> bool:
    """Return whether a browser could be made to send this with its user's rights.

    Not so on the API: it takes no cookies, and a bearer key is nothing that a browser adds.
    """
    return scope["method"] not in _SAFE_METHODS and not scope["path"].startswith(API_PATHS)


def _same_origin(headers: Headers, host: str) -> bool:
    """Judge a state change by what browsers cannot be made to lie about."""
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site == b"same-origin"
    origin = headers.get(b"origin")
    if origin is None:
        return b"cookie" not in headers
    return origin.decode("latin-1").lower().partition("://")[2] == host


def _is_for_browsers(path: str) -> bool:
    """Return whether pages of other origins may call a path of the API."""
    return not path.startswith(_OWN_API) and not is_callback(path)


def _hide_cookies(scope: Scope) -> None:
    headers = scope["headers"]
    if any(name == b"cookie" for name, _ in headers):
        scope["headers"] = [pair for pair in headers if pair[0] != b"cookie"]


def _has_body(headers: Headers) -> bool:
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


async def _read(receive: Receive) -> bytes | None:
    """Return the whole body, or None as soon as it is over the limit."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(chunks)
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            return None
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _refuse_body(body: bytes | None, headers: Headers) -> Problem | None:
    if body is None:
        return Problem(413, "too_large", "Request body too large")
    if b"json" in headers.get(b"content-type", b"json") and is_too_deep(body):
        return Problem(400, "too_deep", f"the body is nested deeper than {MAX_DEPTH} levels")
    return None


def _replay(body: bytes, receive: Receive) -> Receive:
    done = False

    async def replayed() -> Message:
        nonlocal done
        if done:
            return await receive()
        done = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def _preflight(headers: Headers, send: Send) -> None:
    """Answer a browser that asks whether it may call the API from another origin."""
    asked = headers.get(b"access-control-request-headers", b"").decode("latin-1").lower()
    names = [name.strip() for name in asked.split(",")]
    allowed = ", ".join(name for name in names if _CORS_HEADER.fullmatch(name))
    answer = [
        (b"access-control-allow-methods", b"GET, POST, PUT, HEAD, DELETE, OPTIONS"),
        (b"access-control-allow-headers", allowed.encode()),
        (b"access-control-max-age", b"600"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": answer})
    await send({"type": "http.response.body", "body": b""})


def _with_headers(send: Send, scope: Scope) -> Send:
    """Put the security headers on the response, unless the page has stricter words of its own."""
    path: str = scope["path"]
    api = path.startswith(API_PATHS)

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("x-content-type-options", "nosniff")
            headers.setdefault("referrer-policy", "no-referrer")
            headers.setdefault(
                "content-security-policy", "default-src 'none'; frame-ancestors 'none'"
            )
            headers.setdefault("cache-control", "no-store")
            if api and _is_for_browsers(path):
                headers["access-control-allow-origin"] = "*"
                headers["access-control-expose-headers"] = "*"
            allowance = scope.get(ALLOWANCE)
            if allowance is not None:
                headers.update(allowance.headers(time.time()))
        await send(message)

    return sending
