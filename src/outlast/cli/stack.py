"""What `outlast dev` starts, in order: database, engine, server, worker. Ends in reverse."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from outlast.cli import debugger
from outlast.cli.folder import Address, Folder
from outlast.cli.identity import introduce
from outlast.cli.lines import line
from outlast.cli.pages import dashboard, is_private
from outlast.cli.signals import stop_signals
from outlast.cli.terminal import Stop, progress, say
from outlast.cli.watch import watch
from outlast.engine.engine import Engine, EngineSettings
from outlast.server.app import create_app
from outlast.server.listening import bind, listening
from outlast.server.run import let_go, new_runner
from outlast.server.settings import ServerSettings, SettingsError
from outlast.telemetry import logs
from outlast.worker.events import Ready, WorkerEvent
from outlast.worker.settings import WorkerSettings, load_settings
from outlast.worker.supervisor import Worker

DRAIN = 2.0
"""Seconds that runs get after the first Ctrl-C; what is unfinished goes on at the next start."""
_PORTS_TRIED = 50


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line said."""

    root: Path
    host: str
    port: int
    database_url: str | None = field(default=None, repr=False)
    replay_always: bool = False
    pdb: bool = False
    inspect: int | None = None
    poll: bool = False


def run(options: Options) -> None:
    """Start everything, stay until a signal, stop everything."""
    logs.install("warning")
    folder = Folder(options.root)
    folder.create()
    with folder.owned(), new_runner() as runner:
        runner.run(_run(options, folder))


async def _run(options: Options, folder: Folder) -> None:
    kill = asyncio.Event()
    with stop_signals(f"stopping: runs have {DRAIN:g} s; again to kill …", kill=kill) as stop:
        async with contextlib.AsyncExitStack() as stack:
            url = await stack.enter_async_context(_database(options, folder))
            settings = _server_settings(options, folder, url)
            with progress("opening the database"):
                engine = await _engine(settings)
            stack.push_async_callback(engine.close)
            identity = await introduce(engine, folder, options.root)
            listener = stack.enter_context(_listener(settings))
            private = is_private(options.host)
            app = create_app(
                settings, engine, pages=dashboard(identity.secret_key) if private else None
            )
            bound = await stack.enter_async_context(listening(app, listener))
            address = Address(
                api_url=bound.url,
                dashboard_url=f"{bound.url}/",
                project_ref=identity.project_ref,
                secret_key=identity.secret_key,
            )
            folder.announce(address)
            say()
            say(f"  API        {address.api_url}")
            if private:
                say(f"  Dashboard  {address.dashboard_url}")
            else:
                say(f"  Dashboard  left out on {options.host}: it has no login yet", style="yellow")
            stack.callback(folder.withdraw)
            stack.push_async_callback(let_go, app.state.services)
            await _work(options, address, stop, kill)


@asynccontextmanager
async def _database(options: Options, folder: Folder) -> AsyncIterator[str]:
    if options.database_url:
        yield options.database_url
        return
    from outlast.engine.embedded import embedded

    async with contextlib.AsyncExitStack() as stack:
        with progress("starting PostgreSQL"):
            url = await stack.enter_async_context(embedded(folder.path))
        yield url


def _server_settings(options: Options, folder: Folder, url: str) -> ServerSettings:
    given = os.environ.get("OUTLAST_ENCRYPTION_KEYS", "")
    keys = tuple(key.strip() for key in given.split(",") if key.strip())
    return ServerSettings(
        database_url=url,
        encryption_keys=keys or (folder.encryption_key(),),
        host=options.host,
        port=options.port,
        drain_seconds=0,
    )


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


async def _work(
    options: Options, address: Address, stop: asyncio.Event, kill: asyncio.Event
) -> None:
    """Run a worker that follows the code until `stop`."""
    worker = Worker(_worker_settings(options, address), on_event=_Narrator().show)
    changed = asyncio.Event()

    async def follow() -> None:
        while True:
            await changed.wait()
            changed.clear()
            await worker.reload()

    watching = asyncio.create_task(
        watch(options.root, lambda _: changed.set(), poll=options.poll), name="watch"
    )
    following = asyncio.create_task(follow(), name="reload")
    try:
        await worker.run(stop, kill=kill)
    finally:
        for task in (watching, following):
            task.cancel()
        await asyncio.gather(watching, following, return_exceptions=True)


def _worker_settings(options: Options, address: Address) -> WorkerSettings:
    debugged: dict[str, Any] = {}
    if options.pdb or options.inspect is not None:
        variables = (
            debugger.on_this_terminal()
            if options.inspect is None
            else debugger.on_port(options.inspect)
        )
        os.environ.update(variables)  # executors inherit it
        command = debugger.executor_command()
        debugged = {"loops": 1, "processes": 1, "executor_command": command}
    try:
        return load_settings(
            options.root,
            api_urls=(address.api_url,),
            secret_key=address.secret_key,
            name="dev",
            drain=DRAIN,
            replay_always=options.replay_always or None,
            **debugged,
        )
    except ValueError as error:
        raise Stop(str(error)) from error


class _Narrator:
    """Prints what a worker tells: what it waits for, and one line per run."""

    def __init__(self) -> None:
        self._version: str | None = None

    def show(self, event: WorkerEvent) -> None:
        """Print the event."""
        if isinstance(event, Ready):
            if event.version != self._version:
                self._greet(event)
            self._version = event.version
        elif (shown := line(event)) is not None:
            say(shown.text, style=shown.style)

    def _greet(self, event: Ready) -> None:
        tasks = ", ".join(event.tasks)
        if self._version is None:
            say(f"  Tasks      {tasks}")
            say()
            say("Waiting for tasks", style="bold")
        else:
            say(f"  Version    {event.version}: {tasks}", style="cyan")
