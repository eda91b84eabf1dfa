"""The dashboard beside the API: two siblings that only the command line may join."""

import ipaddress
from collections.abc import Callable
from urllib.parse import unquote

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Scope

from outlast.dashboard.app import create_dashboard

_API_VERSION = "2025-07-16"  # statuses and shapes of today, not of the oldest clients


def is_private(host: str) -> bool:
    """Say whether only this machine reaches an address: pages without a login need that."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def dashboard(secret_key: str) -> Callable[[FastAPI], ASGIApp]:
    """Return what builds the pages over an API application, read with the given key."""

    def build(api: FastAPI) -> ASGIApp:
        async def fetch(path: str) -> tuple[int, bytes]:
            return await _get(api, path, secret_key)

        return create_dashboard(fetch)

    return build


async def _get(api: ASGIApp, path: str, secret_key: str) -> tuple[int, bytes]:
    """GET a path of the application in this process; an HTTP client would cost half the start."""
    status = 500
    body = bytearray()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            body.extend(message.get("body", b""))

    await api(_scope(path, secret_key), receive, send)
    return status, bytes(body)


def _scope(path: str, secret_key: str) -> Scope:
    raw, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(raw),
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (b"host", b"127.0.0.1"),
            (b"authorization", f"Bearer {secret_key}".encode()),
            (b"x-trigger-api-version", _API_VERSION.encode()),
        ],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
        "state": {},
    }
