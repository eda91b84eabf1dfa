"""Which server an app talks to, and with which key."""

import ipaddress
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from outlast.client.errors import SettingsError

_VARIABLES: Final = (
    ("OUTLAST_API_URL", "OUTLAST_SECRET_KEY"),
    ("TRIGGER_API_URL", "TRIGGER_SECRET_KEY"),
)
_SIGNS_NOT: Final = re.compile(r"tr_(?:dev|stg|prod|preview)_sk_.*|[^.]+\.[^.]+\.[^.]+|tr_pat_.*")
"""Additional keys, tokens and personal tokens."""
_SECONDS_KEPT: Final = 1.0
_NAMES: Final = "OUTLAST_API_URL and OUTLAST_SECRET_KEY"


@dataclass(frozen=True, slots=True)
class Settings:
    """A server and the key of one environment there."""

    api_url: str
    secret_key: str = field(repr=False)
    """Empty: the token that was lent to this process, which is renewed while it lives."""

    @property
    def bearer(self) -> str:
        """What to send now."""
        return self.secret_key or _process.token

    @property
    def signs(self) -> bool:
        """Whether public tokens can be signed here: only root keys can."""
        return bool(self.secret_key) and not _SIGNS_NOT.fullmatch(self.secret_key)

    @property
    def loopback(self) -> bool:
        """Whether the server is on this machine."""
        return is_loopback(self.api_url)


def settings() -> Settings:
    """Return what is configured now. Raises `SettingsError` naming what to set.

    What `using` set for this code counts most, then `configure`, then what was lent to the runs of
    this process, then the environment: OUTLAST_API_URL with OUTLAST_SECRET_KEY, or the names shared
    with the official clients. Without them the nearest `.outlast/dev.json` above the working
    directory counts, which a running `outlast dev` keeps.
    """
    chosen = _used.get() or _process.configured or _process.lent
    if chosen is not None:
        return chosen
    for url_name, key_name in _VARIABLES:
        url, key = os.environ.get(url_name), os.environ.get(key_name)
        if url and key:
            return _checked(url, key, url_name)
        if url or (key and url_name == "OUTLAST_API_URL"):
            missing, given = (key_name, url_name) if url else (url_name, key_name)
            raise SettingsError(f"{given} is set but {missing} is not; set both")
    found = _development()
    if found is None:
        raise SettingsError(
            f"no server is configured: start `outlast dev` in this project, or set {_NAMES}"
        )
    return found


def pinned_version() -> str | None:
    """Return the version that triggers of this process ask for unless told otherwise."""
    return os.environ.get("OUTLAST_VERSION") or os.environ.get("TRIGGER_VERSION") or None


def make(api_url: str, secret_key: str) -> Settings:
    """Return settings that were given in code. Raises `SettingsError`."""
    if not secret_key:
        raise SettingsError("secret_key is empty; keys begin with tr_")
    return _checked(api_url, secret_key, "api_url")


def configure(found: Settings | None) -> None:
    """Use these settings in the whole process; None: those of the environment again."""
    _process.configured = found


@contextmanager
def using(found: Settings) -> Iterator[None]:
    """Use these settings in the code of a `with` block, and the tasks that it begins."""
    token = _used.set(found)
    try:
        yield
    finally:
        _used.reset(token)


def lend(api_url: str, token: str) -> None:
    """Let the runs of this process call a server with a token; a later token replaces it."""
    _process.token = token
    if _process.lent is None or _process.lent.api_url != api_url:
        _process.lent = _checked(api_url, "", "the worker's API URL")


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=8)
def _checked(url: str, key: str, name: str) -> Settings:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"{name} is no http(s) URL: {url!r}")
    return Settings(url.rstrip("/"), key)


class _Process:
    """What was set in code, or lent by the supervisor of an executor."""

    def __init__(self) -> None:
        self.configured: Settings | None = None
        self.lent: Settings | None = None
        self.token = ""


_process: Final = _Process()
_used: Final[ContextVar[Settings | None]] = ContextVar("outlast_settings", default=None)


class _Kept:
    """The last look at the files, kept for a second: a hot loop of triggers must not stat."""

    def __init__(self) -> None:
        self.until = 0.0
        self.folder = ""
        self.found: Settings | None = None


_kept = _Kept()


def _development() -> Settings | None:
    try:
        folder = str(Path.cwd())
    except OSError:  # the working directory was removed
        return None
    now = time.monotonic()
    if now >= _kept.until or folder != _kept.folder:
        found = _search(Path(folder))
        if found is None:
            return None  # not kept: `outlast dev` may start at any moment
        _kept.found, _kept.folder, _kept.until = found, folder, now + _SECONDS_KEPT
    return _kept.found


def _search(folder: Path) -> Settings | None:
    for parent in (folder, *folder.parents):
        path = parent / ".outlast" / "dev.json"
        try:
            owner = path.stat().st_uid
            content = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        return _trusted(path, owner, content)
    return None


def _trusted(path: Path, owner: int, content: object) -> Settings:
    """Return the settings of a file that belongs to this user and leads to this machine."""
    if hasattr(os, "getuid") and owner != os.getuid():
        raise SettingsError(f"{path} belongs to another user and is ignored; set {_NAMES}")
    url = content.get("api_url") if isinstance(content, dict) else None
    key = content.get("secret_key") if isinstance(content, dict) else None
    if not isinstance(url, str) or not isinstance(key, str) or not key:
        raise SettingsError(f"{path} is damaged; stop and start `outlast dev`")
    if not is_loopback(url):
        raise SettingsError(f"{path} leads to another machine and is ignored; set {_NAMES}")
    return _checked(url, key, str(path))
