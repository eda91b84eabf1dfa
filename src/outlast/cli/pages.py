"""The dashboard beside the API: two siblings that only the command line may join."""

import ipaddress
from collections.abc import Callable

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp

from outlast.client.transport import API_VERSION
from outlast.dashboard.app import create_dashboard


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
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=api),
            base_url="http://127.0.0.1",
            headers={
                "authorization": f"Bearer {secret_key}",
                "x-trigger-api-version": API_VERSION,
            },
        )

        async def fetch(path: str) -> tuple[int, bytes]:
            reply = await client.get(path)
            return reply.status_code, reply.content

        return create_dashboard(fetch)

    return build
