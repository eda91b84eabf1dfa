"""The server over a real engine, called in process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from fastapi import FastAPI

from engines import Platform, ended_and_told, platform
from fake_worker import FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.server.app import create_app
from outlast.server.mail import MailServer
from outlast.server.rates import Rate
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

    async def ended(self, run: str) -> None:
        """Wait until a run has ended, and whoever counts ends has been told."""
        await ended_and_told(self.engine, self.platform.environment.id, run)


@asynccontextmanager
async def running_api(
    url: str,
    *,
    batch_rate: Rate | None = None,
    mail: MailServer | None = None,
    address: str | None = None,
) -> AsyncIterator[Api]:
    """Give a server on a database, with a project and a connected worker."""
    async with platform(url) as stage:
        engine = await stage.server()
        [key] = await engine.keys.roots(stage.environment.id)
        worker = await FakeWorker.open(engine, stage.environment, manifest("hello", "a/b c"))
        settings = ServerSettings(
            database_url=url,
            encryption_keys=(),
            batch_rate_limit=batch_rate,
            smtp_url=mail,
            api_url=address,
        )
        app = create_app(settings, engine)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://localhost",
            headers={"authorization": f"Bearer {key}", "x-trigger-api-version": "2025-07-16"},
        ) as client:
            yield Api(client, engine, stage, worker, app, key)
