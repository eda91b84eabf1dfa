"""The server side of `outlast dev`: engine, API and pages in this process."""

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from outlast.cli.folder import Address, Folder
from outlast.cli.identity import introduce
from outlast.cli.pages import dashboard, is_private
from outlast.cli.terminal import Stop, progress, say
from outlast.engine.engine import Engine, EngineSettings
from outlast.engine.errors import Conflict
from outlast.protocol.roles import Role
from outlast.server.app import create_app
from outlast.server.listening import bind, listening
from outlast.server.run import let_go
from outlast.server.settings import ServerSettings, SettingsError, mail_server

_PORTS_TRIED = 50
_DEVELOPER = "developer"


@asynccontextmanager
async def backend(
    root: Path, folder: Folder, *, host: str, port: int, database_url: str
) -> AsyncIterator[Address]:
    """Serve the project's API for the length of the block; `dev.json` says where meanwhile."""
    async with AsyncExitStack() as stack:
        settings = ServerSettings(
            database_url=database_url,
            encryption_keys=_encryption_keys() or (folder.encryption_key(),),
            host=host,
            port=port,
            drain_seconds=0,
            smtp_url=mail_server(os.environ),
        )
        with progress("opening the database"):
            engine = await _engine(settings)
        stack.push_async_callback(engine.close)
        identity = await introduce(engine, folder, root)
        listener = stack.enter_context(_listener(settings))
        opened = await engine.tenancy.open_key(identity.secret_key)
        assert opened is not None, "the key of this folder was checked a moment ago"
        pages = dashboard(
            is_open=is_private(host), is_secure=False, environment_id=opened.environment.id
        )
        app = create_app(settings, engine, pages=pages)
        engine.deliver_alerts(app.state.services.notifier.send)
        bound = await stack.enter_async_context(listening(app, listener))
        address = Address(
            api_url=bound.url,
            dashboard_url=f"{bound.url}/",
            project_ref=identity.project_ref,
            secret_key=identity.secret_key,
        )
        folder.announce(address)
        stack.callback(folder.withdraw)
        stack.push_async_callback(let_go, app.state.services)
        say()
        say(f"  API        {address.api_url}")
        if is_private(host):
            say(f"  Dashboard  {address.dashboard_url}")
        else:
            say(f"  Dashboard  {await _login_link(engine, address)}  (logs in once)")
        yield address


async def _login_link(engine: Engine, address: Address) -> str:
    """Return the address that lets the developer in: others reach this server too."""
    with contextlib.suppress(Conflict):
        await engine.users.add(_DEVELOPER, Role.ADMIN)
    return f"{address.dashboard_url}login/{await engine.users.make_link(_DEVELOPER)}"


def _encryption_keys() -> tuple[str, ...]:
    given = os.environ.get("OUTLAST_ENCRYPTION_KEYS", "")
    return tuple(key.strip() for key in given.split(",") if key.strip())


async def _engine(settings: ServerSettings) -> Engine:
    return await Engine.open(
        EngineSettings(
            database_url=settings.database_url,
            server_id=settings.server_id,
            encryption_keys=settings.encryption_keys,
        )
    )


@contextlib.contextmanager
def _listener(settings: ServerSettings) -> Iterator[socket.socket]:
    """Bind the port, or the next free one."""
    for port in range(settings.port, settings.port + _PORTS_TRIED):
        try:
            found = bind(replace(settings, port=port))
        except SettingsError:
            continue
        if port != settings.port:
            say(f"port {settings.port} is taken; this is {port}", style="yellow")
        with found:
            yield found
        return
    last = settings.port + _PORTS_TRIED - 1
    raise Stop(
        f"no port from {settings.port} to {last} can be had on {settings.host}; "
        "choose another --host or --port"
    )
