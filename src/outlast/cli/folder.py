"""The `.outlast` folder of a project: who runs here, its key, and what scripts read."""

import base64
import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from outlast.cli.terminal import Stop

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600


@dataclass(frozen=True)
class Identity:
    """What a project on this machine keeps between starts."""

    project_ref: str = ""
    secret_key: str = field(default="", repr=False)
    encryption_key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Address:
    """`dev.json`: where a running `outlast dev` is, for scripts and the SDK."""

    api_url: str
    dashboard_url: str
    project_ref: str
    secret_key: str = field(repr=False)
    pid: int = field(default_factory=os.getpid)


class Folder:
    """`.outlast` below the project's root. Nothing outside of it is created or changed."""

    def __init__(self, root: Path) -> None:
        self.path = root / ".outlast"

    def create(self) -> None:
        """Make the folder private and invisible to version control."""
        try:
            self.path.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            self.path.chmod(PRIVATE_FOLDER)  # it may be of another tool, or older than this rule
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise Stop(
                f"cannot write to {self.path} ({error.strerror}); start in a folder of your own, "
                "or name one with --dir"
            ) from error

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the folder for this process. The kernel lets go when it dies, however it dies."""
        descriptor = os.open(self.path / "dev.lock", os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            if not _lock(descriptor):
                raise Stop(
                    f"outlast dev already runs in {self.path.parent}{self._whereabouts()}; "
                    "use that one, or end it first"
                )
            yield
        finally:
            os.close(descriptor)

    def identity(self) -> Identity:
        """Return what earlier starts left here; fields are empty at the first."""
        try:
            kept = json.loads((self.path / "identity.json").read_text())
            identity = Identity(**kept)
        except (OSError, ValueError, TypeError):
            identity = Identity()
        return identity

    def keep(self, identity: Identity) -> None:
        """Keep the identity for the next start."""
        self._write("identity.json", asdict(identity))

    def encryption_key(self) -> str:
        """Return the key that this machine's root keys are stored under; made at the first call."""
        identity = self.identity()
        if not identity.encryption_key:
            key = base64.b64encode(secrets.token_bytes(32)).decode()
            identity = replace(identity, encryption_key=key)
            self.keep(identity)
        return identity.encryption_key

    def announce(self, address: Address) -> None:
        """Write `dev.json`: readers see the old file, the new one or none, never a half."""
        self._write("dev.json", asdict(address))

    def withdraw(self) -> None:
        """Remove `dev.json`: nobody answers there any more."""
        (self.path / "dev.json").unlink(missing_ok=True)

    def _whereabouts(self) -> str:
        try:
            address = json.loads((self.path / "dev.json").read_text())
            return f" (pid {address['pid']}, {address['dashboard_url']})"
        except (OSError, ValueError, KeyError):
            return ""

    def _write(self, name: str, content: dict[str, object]) -> None:
        draft = self.path / f".{name}.{secrets.token_hex(4)}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
        draft.replace(self.path / name)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
