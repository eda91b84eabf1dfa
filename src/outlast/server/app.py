"""The ASGI application: wiring only. The engine is opened and closed by the caller."""

from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Scope

from outlast.engine.engine import Engine
from outlast.server import problems
from outlast.server.alert_events import Events
from outlast.server.gate import API_PATHS, Gate
from outlast.server.links import Links
from outlast.server.notifier import Notifier
from outlast.server.openapi import Document, name_of
from outlast.server.realtime.feeds import Feeds
from outlast.server.routes import (
    alerts,
    auth,
    batches,
    bulk,
    deployments,
    environment,
    gateway,
    health,
    keys,
    packets,
    people,
    queues,
    realtime,
    reference,
    replays,
    reports,
    run_waits,
    runs,
    schedules,
    streams,
    tasks,
    timeline,
    triggers,
    unsupported,
    usage,
    variables,
    waitpoints,
)
from outlast.server.services import Services
from outlast.server.settings import ServerSettings


def create_app(
    settings: ServerSettings, engine: Engine, *, pages: Callable[[FastAPI], ASGIApp] | None = None
) -> FastAPI:
    """Return the whole server behind its gate.

    `pages` builds what answers every path that is not the API's: a dashboard, which calls the
    application it is given like any other client.
    """
    app = _Gated(
        settings.allowed_hosts(),
        title="Outlast",
        summary="Durable background work.",
        version="1",
        openapi_url=None,  # `routes/reference.py` has it whole, the dashboard its page
        generate_unique_id_function=name_of,
        redirect_slashes=False,
        # It would trace whole paths, and paths can hold secrets.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    app.state.services = Services(
        settings=settings,
        engine=engine,
        links=Links(engine.gateway, api_url=settings.api_url),
        feeds=Feeds(engine.changes),
        notifier=Notifier(Events(engine, address=settings.api_url), mail=settings.smtp_url),
    )
    app.state.document = Document(app)
    app.router.routes.extend(gateway.routes)
    for room in (
        health,
        reference,
        triggers,
        batches,
        bulk,
        runs,
        replays,
        packets,
        deployments,
        schedules,
        reports,
        timeline,
        waitpoints,
        run_waits,
        streams,
        auth,
        environment,
        tasks,
        usage,
        alerts,
        keys,
        variables,
        people,
        queues,
        realtime,
    ):
        app.include_router(room.router)
    app.router.routes.extend(unsupported.routes)
    if pages is not None:
        app.router.routes.append(_Pages("/", pages(app)))
    problems.install(app)
    return app


def warm(app: FastAPI) -> Iterator[None]:
    """Make ready what every route takes, which FastAPI does when it first looks for one."""
    for route in app.router.routes:
        route.matches({"type": "http", "method": "GET", "path": "/", "headers": []})
        yield


class _Pages(Mount):
    """Pages under every path but the API's, whose unknown paths get the API's answers."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "websocket" or scope["path"].startswith(API_PATHS):
            return Match.NONE, {}
        return super().matches(scope)


class _Gated(FastAPI):
    """An application with the gate around all of it, its answers to errors included."""

    def __init__(self, hosts: frozenset[str], **options: Any) -> None:
        self._hosts = hosts
        super().__init__(**options)

    def build_middleware_stack(self) -> ASGIApp:
        return Gate(super().build_middleware_stack(), hosts=self._hosts)
