"""Running a server: one engine, one application, one listening socket, and a graceful end."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from fastapi import FastAPI
from starlette.types import ASGIApp

from outlast.engine.engine import Engine, EngineSettings
from outlast.server.app import create_app
from outlast.server.listening import CLOSE_SECONDS, Bound, bind, listening
from outlast.server.services import Services
from outlast.server.settings import ServerSettings

__all__ = ["Bound", "bind", "serve"]


async def serve(
    settings: ServerSettings,
    *,
    stop: asyncio.Event,
    started: Callable[[Bound], None],
    listener: socket.socket | None = None,
    pages: Callable[[FastAPI], ASGIApp] | None = None,
) -> None:
    """Serve until `stop` is set, then let go of everything in order.

    `listener` is an already bound socket (see `bind`), closed at the end. `pages` builds the
    dashboard over the API application, which it calls in process.
    """
    listener = listener or bind(settings)
    with contextlib.closing(listener):
        engine = await Engine.open(
            EngineSettings(
                database_url=settings.database_url,
                server_id=settings.server_id,
                encryption_keys=settings.encryption_keys,
                migrate=settings.migrate,
                pooler=settings.database_pooler,
                version_grace=settings.version_grace,
                objects=settings.objects,
            )
        )
        try:
            app = create_app(settings, engine, pages=pages)
            engine.deliver_alerts(app.state.services.notifier.send)
            async with listening(app, listener) as bound:
                started(bound)
                await stop.wait()
                await let_go(app.state.services)
        finally:
            await engine.close()


async def let_go(services: Services) -> None:
    """Fail `/readyz`, send the workers to other servers, and give both a moment to be heard."""
    services.stopping.set()
    services.links.stop()
    async with asyncio.TaskGroup() as group:
        group.create_task(services.links.emptied(CLOSE_SECONDS))
        group.create_task(asyncio.sleep(services.settings.drain_seconds))
    services.engine.changes.release()
