"""`outlast server`: the API and the worker gateway, as many replicas as you like."""

import asyncio
import os
from typing import TYPE_CHECKING, Annotated

import typer

from outlast.cli.secret import resolve
from outlast.cli.terminal import say

if TYPE_CHECKING:  # the web and SQL stacks are loaded when the command runs
    from outlast.server.settings import ServerSettings

Host = Annotated[str | None, typer.Option(help="Address to listen on.", envvar="OUTLAST_HOST")]
Port = Annotated[int | None, typer.Option(help="Port to listen on.", envvar="OUTLAST_PORT")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        envvar="OUTLAST_DATABASE_URL",
        help="PostgreSQL 15 or newer: a URL, env:NAME or file:PATH.",
        show_default=False,
    ),
]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.")]


def server(
    host: Host = None,
    port: Port = None,
    database_url: DatabaseUrl = None,
    log_level: LogLevel = "info",
) -> None:
    """Serve the API and the worker gateway. Settings are OUTLAST_* variables."""
    from outlast.loops import new_runner
    from outlast.server.settings import ServerSettings
    from outlast.telemetry import logs

    said = {
        "OUTLAST_HOST": host,
        "OUTLAST_PORT": None if port is None else str(port),
        "OUTLAST_DATABASE_URL": database_url and resolve(database_url, "--database-url"),
    }
    given = {name: value for name, value in said.items() if value is not None}
    settings = ServerSettings.from_environment({**os.environ, **given})
    logs.install(log_level)
    with new_runner() as runner:
        runner.run(_serve(settings))


async def _serve(settings: "ServerSettings") -> None:
    from outlast.cli.pages import dashboard, is_private
    from outlast.cli.signals import stop_signals
    from outlast.loops import collect_rarely
    from outlast.server.run import Bound, serve

    by_http = (settings.api_url or "").startswith("http://") or is_private(settings.host)
    is_secure = (settings.api_url or "").startswith("https://") or not by_http

    def started(bound: Bound) -> None:
        say(f"serving on {bound.url}")
        collect_rarely()

    with stop_signals("stopping: workers are sent to other servers …") as stop:
        try:
            await serve(
                settings,
                stop=stop,
                started=started,
                pages=dashboard(is_open=False, is_secure=is_secure),
            )
        except asyncio.CancelledError:
            if not stop.is_set():
                raise
