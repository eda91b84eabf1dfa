"""What `outlast dev` starts, all at once: database, server, worker. Ends in reverse."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from outlast.cli import debugger
from outlast.cli.database import database
from outlast.cli.folder import Address, Folder
from outlast.cli.narrator import Narrator
from outlast.cli.signals import stop_signals
from outlast.cli.terminal import Stop, say
from outlast.cli.watch import watch
from outlast.protocol.machines import presets
from outlast.telemetry import logs
from outlast.worker.findings import Findings, find
from outlast.worker.settings import WorkerSettings, load_settings
from outlast.worker.supervisor import Worker

DRAIN = 2.0
"""Seconds that runs get after the first Ctrl-C; what is unfinished goes on at the next start."""
_UNKNOWN = Address("http://127.0.0.1", "", "", "")


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
    machines: str = ""
    app_database: str = field(default="", repr=False)


def run(options: Options) -> None:
    """Start everything, stay until a signal, stop everything."""
    logs.install("warning")
    folder = Folder(options.root)
    folder.create()
    with folder.owned(), _runner() as runner:
        runner.run(_run(options, folder))


def _runner() -> "asyncio.Runner":
    try:
        import uvloop
    except ImportError:  # not on every platform
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def _run(options: Options, folder: Folder) -> None:
    kill = asyncio.Event()
    with stop_signals(f"stopping: runs have {DRAIN:g} s; again to kill …", kill=kill) as stop:
        # What takes long happens at once: this process imports the server while the database, the
        # discovery of the tasks and the executors start in processes of their own.
        kept = replace(_UNKNOWN, secret_key=folder.identity().secret_key)
        first = asyncio.create_task(find(_worker_settings(options, kept)), name="discovery")
        opened: asyncio.Future[WorkerSettings] = asyncio.get_running_loop().create_future()
        begun: list[asyncio.Task[Any]] = [first]
        if kept.secret_key:  # else nothing starts that has to be kept from seeing it
            early = _work(options, kept, _with_first(first), stop, kill, opened)
            begun.append(asyncio.create_task(early, name="worker"))
        try:
            async with _server(options, folder) as address, _outbox(options, address):
                if address.secret_key == kept.secret_key:
                    opened.set_result(_worker_settings(options, address))
                    await begun[-1]
                else:
                    await _ended(*begun[1:])
                    await _work(options, address, _with_first(first), stop, kill)
        finally:
            await _ended(*begun)


@asynccontextmanager
async def _server(options: Options, folder: Folder) -> AsyncIterator[Address]:
    async with AsyncExitStack() as stack:
        starting = asyncio.create_task(
            stack.enter_async_context(database(folder, options.database_url)), name="database"
        )
        try:
            await asyncio.sleep(0)
            serve = await asyncio.to_thread(_backend)
            url = await starting
        finally:
            await _ended(starting)
        address = await stack.enter_async_context(
            serve(options.root, folder, host=options.host, port=options.port, database_url=url)
        )
        yield address


@asynccontextmanager
async def _outbox(options: Options, address: Address) -> AsyncIterator[None]:
    """Deliver what the app's transactions commit, for the length of the block."""
    if not options.app_database:
        yield
        return
    from outlast.cli.relay import Relay
    from outlast.client import settings

    relay = Relay(options.app_database)
    with settings.using(settings.make(address.api_url, address.secret_key)):
        task = asyncio.create_task(relay.follow(asyncio.Event(), _yellow), name="outbox")
    say("  Outbox     delivers what the app commits")
    try:
        yield
    finally:
        await _ended(task)


def _yellow(text: str) -> None:
    say(text, style="yellow")


def _backend() -> Callable[..., AbstractAsyncContextManager[Address]]:
    from outlast.cli.backend import backend

    return backend


async def _ended(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _work(
    options: Options,
    address: Address,
    discover: Callable[[WorkerSettings], Awaitable[Findings]],
    stop: asyncio.Event,
    kill: asyncio.Event,
    opened: "asyncio.Future[WorkerSettings] | None" = None,
) -> None:
    """Run a worker that follows the code until `stop`."""
    settings = _worker_settings(options, address)
    narrator = Narrator()
    worker = Worker(
        settings, on_event=narrator.show, discover=narrator.hearing(discover), opened=opened
    )
    changed = asyncio.Event()

    def note(files: frozenset[Path]) -> None:
        changed.set()
        if options.root / "pyproject.toml" in files:
            say("pyproject.toml changed; start again if it was [tool.outlast]", style="yellow")

    async def follow() -> None:
        while True:
            await changed.wait()
            changed.clear()
            await worker.reload()

    watching = asyncio.create_task(watch(options.root, note, poll=options.poll), name="watch")
    following = asyncio.create_task(follow(), name="reload")
    try:
        await worker.run(stop, kill=kill)
    finally:
        for task in (watching, following):
            task.cancel()
        await asyncio.gather(watching, following, return_exceptions=True)


def _with_first(
    first: "asyncio.Task[Findings]",
) -> Callable[[WorkerSettings], Awaitable[Findings]]:
    """Return a discovery that answers once with what was begun before there was a server."""
    begun = [first]

    async def discover(settings: WorkerSettings) -> Findings:
        return await asyncio.shield(begun.pop()) if begun else await find(settings)

    return discover


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
            machines=presets(options.machines),
            **debugged,
        )
    except ValueError as error:
        raise Stop(str(error)) from error
