"""Everything that the example needs, on one machine: for the demo and for its tests."""

import asyncio
import base64
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import httpx
from outlast.engine.database import Database, DatabaseSettings
from outlast.engine.errors import Conflict
from outlast.engine.ids import Ids
from outlast.engine.users import Users
from outlast.protocol.roles import Role

from app.billing import provider
from app.db import engine
from app.settings import ROOT, settings
from app.web.main import create_app
from local import debug
from local.mailbox import Mailbox, port_of, serve
from local.payments import Payments
from local.processes import ProcessError, Program, free_port, inherited
from local.serving import listen, serving, url_of
from local.vendors import Analytics, vendors_app
from scripts.migrate import migrate
from scripts.seed import paid_plans

READY_SECONDS = 60.0
RESTART_SECONDS = 2.0
_DEVELOPER = "developer"
# What the platform alone may know, and what would lead the SDK to another platform.
_NOT_FOR_TASKS = (
    "OUTLAST_DATABASE_URL",
    "OUTLAST_ENCRYPTION_KEYS",
    "OUTLAST_API_URL",
    "OUTLAST_SECRET_KEY",
    "DATABASE_OWNER_URL",
)
# The secrets of development are as old as this process; migrating sets the password.
_PASSWORD = secrets.token_urlsafe(24)
_SECRETS = {
    name: secrets.token_urlsafe(24)
    for name in (
        "SESSION_SECRET",
        "INVITATION_SIGNING_SECRET",
        "CRON_SECRET",
        "PAYMENTS_SECRET_KEY",
        "PAYMENTS_WEBHOOK_SECRET",
    )
}


class StackError(Exception):
    """Something did not come up; the message says what to look at."""


def _to_nobody(_: str) -> None:
    return


@dataclass(frozen=True)
class Databases:
    """The platform's database and the app's, on one PostgreSQL server."""

    server: str = field(repr=False)
    platform: str
    app: str

    async def create(self) -> None:
        """Make both databases, empty, and the schema of the app's."""
        await self._execute(
            f'drop database if exists "{self.platform}" with (force)',
            f'create database "{self.platform}"',
        )
        await migrate(self.owner_url, self.app_url, fresh=True)

    async def drop(self) -> None:
        """Remove both, and the app's role."""
        await self._execute(
            f'drop database if exists "{self.platform}" with (force)',
            f'drop database if exists "{self.app}" with (force)',
            f'drop role if exists "{self._role}"',
        )

    @property
    def platform_url(self) -> str:
        """Where the platform keeps its runs."""
        return _with_database(self.server, self.platform)

    @property
    def owner_url(self) -> str:
        """The app's database, for its owner."""
        return _with_database(self.server, self.app)

    @property
    def app_url(self) -> str:
        """The app's database, for the app's role."""
        parts = urlsplit(self.owner_url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{self._role}:{_PASSWORD}@{host}"))

    @property
    def _role(self) -> str:
        return f"{self.app}_app"

    async def _execute(self, *statements: str) -> None:
        connection = await asyncpg.connect(_with_database(self.server, "postgres"))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


@dataclass
class Stack:
    """The app, its vendors, server and workers, over databases that exist. Workers come and go."""

    databases: Databases
    folder: Path
    mailbox: Mailbox
    page_pause: float = 0.0
    payments: Payments = field(default_factory=lambda: Payments(paid_plans()))
    analytics: Analytics = field(default_factory=Analytics)
    api_url: str = ""
    app_url: str = ""
    smtp_url: str = ""
    vendors_url: str = ""
    secret_key: str = field(default="", repr=False)
    programs: list[Program] = field(default_factory=list)

    @asynccontextmanager
    async def running(self, port: int = 0, platform_port: int = 0) -> AsyncIterator["Stack"]:
        """Bring everything up but a worker; what the stack has started ends with the block.

        The app and the platform listen on these ports, on free ones if they are 0 or taken.
        """
        async with AsyncExitStack() as onward:
            web, vendors = _listen(port), listen()
            self.app_url, self.vendors_url = url_of(web), url_of(vendors)
            self.payments.webhook_url = f"{self.app_url}/api/webhooks/payments"
            mail_server = await serve(self.mailbox)
            onward.callback(mail_server.close)
            self.smtp_url = f"smtp://127.0.0.1:{port_of(mail_server)}"
            onward.callback((self.folder / "worker.pid").unlink, missing_ok=True)
            onward.push_async_callback(self._stop_programs)
            await self._start_server(free_port(platform_port))
            onward.enter_context(_as_environment(self.variables()))
            onward.push_async_callback(_close_connections)
            served = vendors_app(self.payments, self.analytics)
            await onward.enter_async_context(serving(served, vendors))
            app = create_app(debug.router)
            app.state.dashboard_link = self.dashboard_link
            await onward.enter_async_context(serving(app, web))
            yield self

    def variables(self) -> dict[str, str]:
        """Return what the app and its tasks are told: the variables of `.env.example`."""
        return _SECRETS | {
            "DATABASE_URL": self.databases.app_url,
            "TRIGGER_API_URL": self.api_url,
            "TRIGGER_SECRET_KEY": self.secret_key,
            "APP_URL": self.app_url,
            "SMTP_URL": self.smtp_url,
            "PAYMENTS_URL": f"{self.vendors_url}/payments",
            "ANALYTICS_URL": f"{self.vendors_url}/analytics",
            "EXPORT_DIR": str(self.folder / "exports"),
            "EXPORT_PAGE_PAUSE": str(self.page_pause),
            "WORKER_PID_FILE": str(self.folder / "worker.pid"),
            "MAILBOX_DIR": str(self.mailbox.folder),
        }

    async def start_worker(self, *options: str) -> Program:
        """Start a worker and wait until it says that it waits for tasks."""
        worker = self._start(
            "worker",
            ["worker", "--dir", str(ROOT), *options],
            {**inherited(*_NOT_FOR_TASKS), **self.variables()},
        )
        (self.folder / "worker.pid").write_text(str(worker.pid))
        async for _ in _moments(worker):
            if "Waiting for tasks" in worker.last_lines():
                return worker
        raise StackError(f"the worker did not get ready:\n{worker.last_lines()}")

    @property
    def worker(self) -> Program:
        """The newest worker."""
        return self.programs[-1]

    @asynccontextmanager
    async def kept_alive(self, tell: Callable[[str], None] = _to_nobody) -> AsyncIterator[None]:
        """Start another worker whenever the newest one has ended, as a supervisor would.

        `tell` hears why one could not start; the next attempt follows after a moment.
        """

        async def keep() -> None:
            while True:
                await asyncio.sleep(0.1)
                if not self.worker.has_ended:
                    continue
                try:
                    await self.start_worker()
                except (StackError, ProcessError) as error:
                    tell(str(error))
                    await asyncio.sleep(RESTART_SECONDS)

        keeping = asyncio.create_task(keep())
        try:
            yield
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping

    async def dashboard_link(self) -> str:
        """Return an address that signs in at the platform's dashboard, once."""
        settings = DatabaseSettings(url=self.databases.platform_url, pool_size=1)
        async with await Database.open(settings) as database:
            ids = Ids(database)
            await ids.learn()
            users = Users(database, ids)
            with suppress(Conflict):  # of an earlier link
                await users.add(_DEVELOPER, Role.ADMIN)
            return f"{self.api_url}/login/{await users.make_link(_DEVELOPER)}"

    async def _stop_programs(self) -> None:
        """Stop the workers first: they hand back what they hold while there is a server."""
        await asyncio.gather(*(worker.stop() for worker in self.programs[1:]))
        for server in self.programs[:1]:
            await server.stop()

    async def _start_server(self, port: int) -> None:
        env = inherited(*_NOT_FOR_TASKS) | {
            "OUTLAST_DATABASE_URL": self.databases.platform_url,
            "OUTLAST_ENCRYPTION_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
        }
        server = self._start("server", ["server", "--port", str(port)], env)
        self.api_url = f"http://127.0.0.1:{port}"
        # Meanwhile: a command needs the database only, and whichever comes first migrates it.
        key = asyncio.create_task(_create_project(env))
        try:
            await self._answering(server)
            self.secret_key = await key
        finally:
            key.cancel()

    async def _answering(self, server: Program) -> None:
        async with httpx.AsyncClient(base_url=self.api_url, timeout=5) as client:
            async for _ in _moments(server):
                if await _answers(client):
                    return
        raise StackError(f"the server did not get ready:\n{server.last_lines()}")

    def _start(self, name: str, arguments: list[str], env: dict[str, str]) -> Program:
        log = self.folder / "logs" / f"{name}-{len(self.programs)}.log"
        command = [sys.executable, "-m", "local.tethered", *arguments]
        program = Program.start(name, command, cwd=ROOT, env=env, log=log)
        self.programs.append(program)
        return program


def _listen(port: int) -> socket.socket:
    try:
        return listen(port)
    except OSError:
        return listen()


async def _close_connections() -> None:
    """End what the app in this process has opened."""
    await engine().dispose()
    await provider.client().aclose()


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).is_success
    except httpx.HTTPError:
        return False


async def _create_project(env: Mapping[str, str]) -> str:
    """Return the development key of a new project; it is shown this once."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "outlast", "projects", "create", "saas"],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=READY_SECONDS,
        check=False,
    )
    key = re.search(r"tr_dev_\w+", done.stdout)
    if key is None:
        raise StackError(f"`outlast projects create` gave no key: {done.stdout}{done.stderr}")
    return key[0]


async def _moments(program: Program) -> AsyncIterator[None]:
    """Yield until the program has had its time. Raises `ProcessError` as soon as it has ended."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        program.check()
        yield
        await asyncio.sleep(0.05)


@contextmanager
def _as_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Let the app in this process read `variables`, whatever it has read before."""
    before = dict(os.environ)
    for name in _NOT_FOR_TASKS:
        os.environ.pop(name, None)
    os.environ.update(variables)
    _forget()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        _forget()


def _forget() -> None:
    for made_once in (settings, engine, provider.client):
        made_once.cache_clear()


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{quote(name, safe='')}"))
