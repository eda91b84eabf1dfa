"""The server over a real engine, called in process."""

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

sys.path.insert(0, str(Path(__file__).parent.parent))

from engines import Platform, platform
from fake_worker import FakeWorker, manifest

from outlast.engine.engine import Engine
from outlast.server.app import create_app
from outlast.server.settings import ServerSettings


@dataclass
class Api:
    """A server, a client with a root key, and a worker that offers `hello` and `a/b c`."""

    client: httpx.AsyncClient
    engine: Engine
    platform: Platform
    worker: FakeWorker
    app: FastAPI
    key: str

    def with_bearer(self, credential: str | None) -> httpx.AsyncClient:
        """Return a client with another credential."""
        headers = {} if credential is None else {"authorization": f"Bearer {credential}"}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://localhost", headers=headers
        )

    async def trigger(self, task: str = "hello", **body: object) -> str:
        """Trigger a run and return its id."""
        reply = await self.client.post(f"/api/v1/tasks/{task}/trigger", json=body)
        assert reply.status_code == 200, reply.text
        run: str = reply.json()["id"]
        return run


@pytest.fixture
async def api(fresh_url: str) -> AsyncIterator[Api]:
    """Return a server with a project and a connected worker."""
    async with platform(fresh_url) as stage:
        engine = await stage.server()
        [key] = await engine.keys.roots(stage.environment.id)
        worker = await FakeWorker.open(engine, stage.environment, manifest("hello", "a/b c"))
        settings = ServerSettings(database_url=fresh_url, encryption_keys=())
        app = create_app(settings, engine)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://localhost",
            headers={"authorization": f"Bearer {key}", "x-trigger-api-version": "2025-07-16"},
        ) as client:
            yield Api(client, engine, stage, worker, app, key)
