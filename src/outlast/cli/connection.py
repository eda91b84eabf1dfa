"""Which server a command talks to: what it was told, else what the SDK would use here."""

from dataclasses import dataclass, field
from typing import Annotated

import typer

from outlast.cli.secret import resolve
from outlast.cli.terminal import Stop

ApiUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--api-url", help="A server; repeatable. Default: OUTLAST_API_URL, else dev.json."
    ),
]
Key = Annotated[
    str | None,
    typer.Option("--key", help="The environment's key, as env:NAME or file:PATH."),
]


@dataclass(frozen=True)
class Connection:
    """Servers of one installation, and the key of an environment there."""

    api_urls: tuple[str, ...]
    secret_key: str = field(repr=False)


def connection(api_urls: list[str] | None, key: str | None) -> Connection:
    """Return where to connect. Raises `Stop` or the client's `SettingsError` with what to set."""
    from outlast.client.settings import settings

    if api_urls and key:
        return Connection(tuple(_url(url) for url in api_urls), resolve(key, "--key"))
    if key:
        raise Stop("--key opens one server; name it with --api-url")
    found = settings()
    if api_urls and not found.loopback:
        # The key of one installation must not be sent to another by a mistyped option.
        raise Stop("--api-url needs the key that belongs to it: --key env:NAME")
    return Connection(tuple(_url(url) for url in api_urls or [found.api_url]), found.secret_key)


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise Stop(f"--api-url {text!r} is no http(s) URL")
    return text.rstrip("/")
