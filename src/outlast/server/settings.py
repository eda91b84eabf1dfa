"""What a server process can be told; read once, where the process starts."""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from outlast.engine.objects import ObjectSettings
from outlast.engine.versions import GRACE_SECONDS
from outlast.server.mail import MailServer
from outlast.server.rates import Rate

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
DEFAULT_PORT = 8710
_HOW_TO_SET = {
    "OUTLAST_DATABASE_URL": (
        "set it to postgresql://user:password@host/name, or begin with `outlast dev`, which brings "
        "its own PostgreSQL"
    ),
    "OUTLAST_ENCRYPTION_KEYS": (
        "make a key once with `openssl rand -base64 32`, and keep it as long as the database"
    ),
}


class SettingsError(ValueError):
    """A setting is missing or makes no sense; the message says which variable to set."""


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """The settings of one server process. Field `x` is the variable `OUTLAST_X`."""

    database_url: str = field(repr=False)
    """`OUTLAST_DATABASE_URL`: PostgreSQL 15 or newer."""
    database_pooler: bool = False
    """`OUTLAST_DATABASE_POOLER`: the URL leads to a pooler in transaction mode."""
    encryption_keys: tuple[str, ...] = field(repr=False)
    """`OUTLAST_ENCRYPTION_KEYS`, comma-separated: the first encrypts, all decrypt."""
    host: str = "127.0.0.1"
    """`OUTLAST_HOST`: the address to listen on."""
    port: int = DEFAULT_PORT
    """`OUTLAST_PORT`; 0 takes a free one."""
    hosts: tuple[str, ...] = ()
    """`OUTLAST_HOSTS`: names that clients may call it by, besides loopback and `api_url`."""
    api_url: str | None = None
    """`OUTLAST_API_URL`: how clients reach the server from outside."""
    server_id: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    """`OUTLAST_SERVER_ID`: names this process in sessions and logs; unique among servers."""
    migrate: bool = True
    """`OUTLAST_MIGRATE`: bring the schema up to date at the start."""
    drain_seconds: float = 1.0
    """`OUTLAST_DRAIN_SECONDS`: how long `/readyz` fails before the sockets close."""
    rate_limit: Rate | None = None
    """`OUTLAST_RATE_LIMIT`: requests per minute of each key, as `1500` or `1500:750` with the burst
    after a pause; an environment's own limit counts before it. None: no limit."""
    batch_rate_limit: Rate | None = None
    """`OUTLAST_BATCH_RATE_LIMIT`: runs per minute that batches of an environment may hold, as `600`
    or `600:1200` with the burst. None: no limit."""
    version_grace: float = GRACE_SECONDS
    """`OUTLAST_VERSION_GRACE`: seconds that pinned runs wait for a worker of their version."""
    smtp_url: MailServer | None = None
    """`OUTLAST_SMTP_URL`: who takes e-mail of alerts, `smtp://user:password@host:587?from=address`;
    None: there are no alerts by e-mail."""

    objects: ObjectSettings | None = None
    """`OUTLAST_S3_BUCKET`, with `OUTLAST_S3_ENDPOINT`, `OUTLAST_S3_REGION`, `OUTLAST_S3_ACCESS_KEY`
    and `OUTLAST_S3_SECRET_KEY`: packets lie there instead of in the database."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Build the settings from `OUTLAST_*` variables. Raises `SettingsError`."""
        given: dict[str, object] = {
            "database_url": _secret(_required(environ, "OUTLAST_DATABASE_URL"), environ),
            "encryption_keys": _names(
                _secret(_required(environ, "OUTLAST_ENCRYPTION_KEYS"), environ)
            ),
        }
        for name, read in _READ.items():
            if text := environ.get(variable := f"OUTLAST_{name.upper()}"):
                given[name] = read(text, variable)
        given["smtp_url"] = mail_server(environ)
        given["objects"] = _objects(environ)
        return cls(**given)  # type: ignore[arg-type]  # names and values are matched above

    def allowed_hosts(self) -> frozenset[str]:
        """Return every name a `Host` header may carry, lower case and without a port."""
        names = {*LOOPBACK_HOSTS, *(name.lower() for name in self.hosts)}
        if self.host not in {"0.0.0.0", "::", ""}:  # noqa: S104 - compared, not bound
            names.add(f"[{self.host}]" if ":" in self.host else self.host.lower())
        if self.api_url and (name := urlsplit(self.api_url).hostname):
            names.add(f"[{name}]" if ":" in name else name.lower())
        return frozenset(names)


def mail_server(environ: Mapping[str, str]) -> MailServer | None:
    """Return who takes e-mail, None when nobody is named. Raises `SettingsError`."""
    if not (text := environ.get("OUTLAST_SMTP_URL", "").strip()):
        return None
    try:
        return MailServer.parse(_secret(text, environ))
    except ValueError:  # its message may quote a password
        raise SettingsError(
            "OUTLAST_SMTP_URL is not smtp://user:password@host:587?from=address"
        ) from None


def _objects(environ: Mapping[str, str]) -> ObjectSettings | None:
    """Return the object store of the settings, None when no bucket is named."""
    if not (bucket := environ.get("OUTLAST_S3_BUCKET", "").strip()):
        return None
    return ObjectSettings(
        bucket=bucket,
        endpoint=environ.get("OUTLAST_S3_ENDPOINT") or None,
        region=environ.get("OUTLAST_S3_REGION") or "us-east-1",
        access_key=_secret(_required(environ, "OUTLAST_S3_ACCESS_KEY"), environ),
        secret_key=_secret(_required(environ, "OUTLAST_S3_SECRET_KEY"), environ),
    )


def _rate(text: str, name: str) -> Rate | None:
    per_minute, _, burst = text.partition(":")
    try:
        limit = int(per_minute)
        rate = Rate(limit, int(burst) if burst else max(1, limit // 2))
    except ValueError:
        raise SettingsError(f"{name} is no limit: {text!r}; give 1500 or 1500:750") from None
    if limit < 0 or rate.burst < 1:
        raise SettingsError(f"{name} must not be negative: {text!r}")
    return rate if limit else None


def _required(environ: Mapping[str, str], name: str) -> str:
    if not (text := environ.get(name, "").strip()):
        how = _HOW_TO_SET.get(name, "set it")
        raise SettingsError(f"{name} is not set; {how}")
    return text


def _secret(text: str, environ: Mapping[str, str]) -> str:
    """Resolve `env:NAME` and `file:PATH`, so that a secret need not stand in a command line."""
    if text.startswith("env:"):
        return _required(environ, text.removeprefix("env:"))
    if text.startswith("file:"):
        path = Path(text.removeprefix("file:"))
        try:
            return path.read_text().strip()
        except OSError as error:
            raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingsError(f"{name} must be a number") from None


def _is_on(text: str, _name: str) -> bool:
    return text.lower() not in {"0", "false", "no"}


_READ: dict[str, Callable[[str, str], object]] = {
    "database_pooler": _is_on,
    "host": lambda text, _: text,
    "port": lambda text, name: int(_number(text, name)),
    "hosts": lambda text, _: _names(text),
    "api_url": lambda text, _: text,
    "server_id": lambda text, _: text,
    "migrate": _is_on,
    "drain_seconds": _number,
    "rate_limit": _rate,
    "batch_rate_limit": _rate,
    "version_grace": _number,
}
"""How each simple variable is read, by its field."""
