"""PostgreSQL for development: our own launcher of its programs, private to one project.

What stands in the folder, for PostgreSQL 18: `pg18/` the data, `pg18.password` (0600),
`pg18.socket` (where the socket folder is), `pg18.log`, and two lock files. `pg18.owner` is locked
by the process that will stop the server; `pg18.alive` by the server's own processes, which inherit
the lock, so that nobody ever trusts a process id.
"""

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import asyncpg

from outlast.engine.binaries import Binaries, copy_for_everybody, find_binaries
from outlast.engine.errors import Unavailable
from outlast.engine.private_files import (
    ROOT_HOME,
    make_socket_folder,
    private_home,
    read_or_make_secret,
    remove_socket_folder,
    server_account,
    try_lock,
    write_private,
)

logger = logging.getLogger(__name__)

READY_SECONDS = 60.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.02
_PORT = "5432"  # only the name of the socket: nothing listens on TCP
_USER = "outlast"
_BUILTIN_LOCALE_SINCE = 17
_LOG_BYTES = 10 * 1024 * 1024

_SETTINGS = {
    "listen_addresses": "",
    "port": _PORT,
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "cluster_name": "outlast",
}


class EmbeddedServer:
    """One project's PostgreSQL: started, adopted from a killed owner, or shared with a living."""

    def __init__(self, root: Path, *, binaries: Binaries | None = None) -> None:
        """Take the project's own folder (`.outlast`); it is created when it is missing."""
        if sys.platform == "win32":
            raise Unavailable("no embedded PostgreSQL on Windows; set OUTLAST_DATABASE_URL")
        self._account = server_account()
        self.home = private_home(root, self._account)
        self._binaries = binaries or find_binaries()
        if self._binaries.wheel and self._account.uid is not None:
            self._binaries = copy_for_everybody(self._binaries, ROOT_HOME)
        self.data: Path = self.home / f"pg{self._binaries.major}"
        self._password = ""
        self._owner: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_owner(self) -> bool:
        """Whether `stop` stops the server; False while another living process does that."""
        return self._owner is not None

    async def start(self) -> str:
        """Return the URL of a server that answers. Raises `Unavailable` after 60 s."""
        self._password = read_or_make_secret(self._file("password"))
        deadline = time.monotonic() + READY_SECONDS
        try:
            while (problem := await self._step_towards_ready()) is not None:
                self._give_up_if_hopeless(problem, deadline)
                await asyncio.sleep(_POLL_SECONDS)
        except BaseException:
            await asyncio.shield(self.stop())
            raise
        return self._url("outlast")

    async def _step_towards_ready(self) -> str | None:
        """Return None when a connection works, else why it does not yet."""
        if self._owner is None:
            self._owner = try_lock(self._file("owner"))
        if self._owner is not None and self._process is None:
            await self._launch_unless_alive()
        return await self._try_connect()

    def _give_up_if_hopeless(self, problem: str, deadline: float) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise Unavailable(f"PostgreSQL stopped while starting: {self._log_end()}")
        if time.monotonic() > deadline:
            raise Unavailable(
                f"PostgreSQL in {self.data} did not answer within {READY_SECONDS:.0f} s "
                f"({problem}); make room, or set OUTLAST_DATABASE_URL. The end of its log: "
                f"{self._log_end()}"
            )

    async def stop(self) -> None:
        """Stop the server if this process owns it; everything committed is on disk."""
        if self._owner is None:
            return
        await self._stop_process()
        remove_socket_folder(self._socket_folder())
        self._release()

    async def _launch_unless_alive(self) -> None:
        alive = try_lock(self._file("alive"))
        if alive is None:
            return  # a server that lost its owner lives: adopt it
        try:
            if not self.data.exists():
                await self._initialise()
            self._forget_dead_server()
            self._launch(alive)
        finally:
            os.close(alive)

    def _forget_dead_server(self) -> None:
        """Remove a leftover `postmaster.pid`: it would stop the start once its id is in use again.

        Only a server that somebody started by hand on our data can be alive without our lock.
        """
        pid = self._written_pid()
        if pid is not None and str(self.data) not in _command_of(pid):
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    async def _initialise(self) -> None:
        """Make the data folder; it gets its name only when it is whole."""
        for other in self.home.glob("pg[0-9]*/PG_VERSION"):
            logger.warning(
                "data of another PostgreSQL version stay beside the new, empty ones",
                extra={"folder": str(other.parent), "new": str(self.data)},
            )
        started = time.monotonic()
        draft = self.data.with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        locale = ["--locale=C", "--encoding=UTF8"]
        if self._binaries.major >= _BUILTIN_LOCALE_SINCE:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        with tempfile.NamedTemporaryFile(dir=self.home, prefix=".password-") as password:
            password.write(self._password.encode())
            password.flush()
            for path in (draft, Path(password.name)):
                self._account.own(path)
            arguments = [
                f"--pgdata={draft}",
                f"--username={_USER}",
                f"--pwfile={password.name}",
                "--auth=scram-sha-256",
                *locale,
            ]
            done = await asyncio.to_thread(self._run_initdb, arguments, draft)
        if done.returncode != 0:
            told = done.stdout.decode(errors="replace").strip()
            shutil.rmtree(draft, ignore_errors=True)
            raise Unavailable(f"initdb failed in {self.home}: {told[-2000:]}")
        draft.rename(self.data)
        logger.info(
            "made a PostgreSQL data folder",
            extra={"folder": str(self.data), "seconds": round(time.monotonic() - started, 2)},
        )

    def _run_initdb(self, arguments: list[str], folder: Path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(  # noqa: S603 - arguments as a list, no shell
            [str(self._binaries.folder / "initdb"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            env=_environment(),
            cwd=folder,
            user=self._account.uid,
            group=self._account.gid,
            extra_groups=self._account.groups,
            umask=0o077,
        )

    def _launch(self, alive: int) -> None:
        remove_socket_folder(self._socket_folder())
        folder = make_socket_folder(self._account)
        write_private(self._file("socket"), str(folder))
        settings = _SETTINGS | {"unix_socket_directories": f'"{folder}"'}
        log = self._file("log")
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.unlink()
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - arguments as a list, no shell
                [
                    self._binaries.folder / "postgres",
                    "-D",
                    self.data,
                    *(f"--{name}={value}" for name, value in settings.items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                cwd=self.data,
                pass_fds=[alive],
                start_new_session=True,  # Ctrl-C in the terminal is not for it
                user=self._account.uid,
                group=self._account.gid,
                extra_groups=self._account.groups,
                umask=0o077,
            )

    async def _try_connect(self) -> str | None:
        """Return None when a connection works, else why it does not."""
        try:
            await self._ask("outlast", "select 1")
        except asyncpg.InvalidCatalogNameError:
            with suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                await self._ask("postgres", "create database outlast")
            return "its database is being made"
        except asyncpg.InvalidPasswordError as error:
            raise Unavailable(
                f"{self._file('password')} is not the password of {self.data}; restore it, or "
                "move both away to begin with an empty database"
            ) from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            return str(error) or type(error).__name__
        return None

    async def _ask(self, database: str, query: str) -> object:
        connection = await asyncpg.connect(self._url(database), timeout=10)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    async def _stop_process(self) -> None:
        """Ask for a fast shutdown, then for an immediate one; recovery makes both safe."""
        if self._owner is None:
            return
        pid = self._process.pid if self._process is not None else await self._proven_pid()
        if pid is None:
            return
        for number in (signal.SIGINT, signal.SIGQUIT):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            if await self._ended(_STOP_SECONDS):
                break
        if self._process is not None:
            await asyncio.to_thread(self._process.wait)
            self._process = None

    async def _ended(self, seconds: float) -> bool:
        """Wait until no process of the server holds the inherited lock."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process is not None:
                self._process.poll()
            lock = try_lock(self._file("alive"))
            if lock is not None:
                os.close(lock)
                return True
            await asyncio.sleep(_POLL_SECONDS)
        return False

    async def _proven_pid(self) -> int | None:
        """Return the process id of an adopted server: the parent of a session that it gave us."""
        try:
            connection = await asyncpg.connect(self._url("postgres"), timeout=10)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return None
        try:
            parent = _parent_of(connection.get_server_pid())
        finally:
            await connection.close()
        return parent if parent == self._written_pid() else None

    def _written_pid(self) -> int | None:
        try:
            first, _, _ = (self.data / "postmaster.pid").read_text().partition("\n")
        except OSError:
            return None
        return _number(first.strip())

    def _release(self) -> None:
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None

    def _file(self, suffix: str) -> Path:
        return self.data.with_suffix(f".{suffix}")

    def _socket_folder(self) -> Path | None:
        try:
            return Path(self._file("socket").read_text())
        except FileNotFoundError:
            return None

    def _url(self, database: str) -> str:
        host = quote(str(self._socket_folder() or "/nowhere"), safe="")
        return f"postgresql://{_USER}:{self._password}@/{database}?host={host}&port={_PORT}"

    def _log_end(self) -> str:
        try:
            lines = self._file("log").read_text(errors="replace").splitlines()
        except OSError:
            return "there is no log"
        return " | ".join(lines[-5:])


@asynccontextmanager
async def embedded(root: Path) -> AsyncIterator[str]:
    """Run the project's PostgreSQL and give its URL; `root` is the project's `.outlast` folder."""
    server = await asyncio.to_thread(EmbeddedServer, root)
    url = await server.start()
    try:
        yield url
    finally:
        await server.stop()


def _environment() -> dict[str, str]:
    """Return what the programs may know: no PG* variable, no locale, no secret of ours."""
    kept = {
        name: value
        for name in ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
        if (value := os.environ.get(name)) is not None
    }
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def _parent_of(pid: int) -> int | None:
    """Return the process id of a process's parent."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        return int(text.rpartition(")")[2].split()[1])
    except OSError:
        return _number(_ps("ppid", pid))


def _command_of(pid: int) -> str:
    """Return the command line of a process; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return _ps("args", pid)


def _ps(column: str, pid: int) -> str:
    try:
        return subprocess.run(  # noqa: S603 - no shell, a number
            ["ps", "-o", f"{column}=", "-p", str(pid)],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
    except OSError:
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None
