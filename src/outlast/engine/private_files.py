"""Folders and files that only one user reads, and locks on them, for the embedded PostgreSQL."""

import fcntl
import hashlib
import logging
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from outlast.engine.errors import Unavailable

logger = logging.getLogger(__name__)

ROOT_HOME = Path("/var/lib/outlast")
_LONGEST_SOCKET_FOLDER = 80  # of the 103 bytes that a socket's path may have on macOS
_SOCKET_PREFIX = "outlast-"


class Account(NamedTuple):
    """Whom PostgreSQL runs as; all None: as ourselves."""

    uid: int | None = None
    gid: int | None = None
    groups: list[str | int] | None = None

    def own(self, path: Path) -> None:
        """Give a file that we made to the account."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def server_account() -> Account:
    """Return whom the server runs as: it refuses to run as root. Raises `Unavailable`."""
    if os.geteuid() != 0:
        return Account()
    import pwd  # noqa: PLC0415 - not on every platform

    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise Unavailable(
            "PostgreSQL does not run as root and there is no user `nobody`; run as another user or "
            "set OUTLAST_DATABASE_URL"
        ) from error
    return Account(entry.pw_uid, entry.pw_gid, [])


def private_home(root: Path, account: Account) -> Path:
    """Return the folder that holds the data; logs where when it is not the project's own.

    For root it is below /var/lib/outlast: owned by root and closed to others, but passable, so that
    the account reaches its data and can replace nothing else.
    """
    resolved = root.resolve()
    name = hashlib.sha256(os.fsencode(resolved)).hexdigest()[:16]
    if account.uid is not None:
        home = ROOT_HOME / name
        for folder in (ROOT_HOME, home):
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        return home
    if _holds_private_files(resolved):
        return resolved
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    home = state / "outlast" / name
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    logger.warning(
        "the project's folder cannot hold private files; the database lives elsewhere",
        extra={"folder": str(resolved), "database": str(home)},
    )
    return home


def _holds_private_files(folder: Path) -> bool:
    """Whether a 0700 folder can be made here: not on read-only and some foreign file systems."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".probe-") as probe:
            return (Path(probe).stat().st_mode & 0o077) == 0
    except OSError:
        return False


def read_or_make_secret(path: Path) -> str:
    """Return the text of a 0600 file that is made, with a random text, when it is missing."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        write_private(path, secrets.token_urlsafe(32))
        return path.read_text().strip()


def write_private(path: Path, text: str) -> None:
    """Write a 0600 file in one piece."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    Path(draft).replace(path)


def try_lock(path: Path) -> int | None:
    """Return a descriptor that holds the file's lock, or None when another process does."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def make_socket_folder(account: Account) -> Path:
    """Return a new folder of the account's under the temporary one, short enough for a socket."""
    base = Path(tempfile.gettempdir())
    if account.uid is not None or len(os.fsencode(base)) > _LONGEST_SOCKET_FOLDER:
        base = Path("/tmp")  # noqa: S108 - the folder made there is private and unguessable
    folder = Path(tempfile.mkdtemp(dir=base, prefix=_SOCKET_PREFIX))
    account.own(folder)
    return folder


def remove_socket_folder(folder: Path | None) -> None:
    """Remove what `make_socket_folder` made, if it holds nothing but sockets."""
    if folder is None or not folder.name.startswith(_SOCKET_PREFIX):
        return
    with suppress(OSError):
        for path in folder.glob(".s.PGSQL.*"):
            path.unlink(missing_ok=True)
        folder.rmdir()
