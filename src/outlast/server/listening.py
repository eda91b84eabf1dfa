"""A listening socket and the HTTP server on it; knows nothing of what is served."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from outlast.protocol.frames import MAX_FRAME_BYTES
from outlast.server.settings import ServerSettings, SettingsError

CLOSE_SECONDS = 5
"""How long requests in flight, and workers that were told to leave, are waited for."""
_BACKLOG = 2048


class CutShort(Exception):  # noqa: N818  (no error: a way to end)
    """An answer ends in its middle on purpose, which is how its reader learns to come back."""


@dataclass(frozen=True)
class Bound:
    """Where a running server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The base URL for clients on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def bind(settings: ServerSettings) -> socket.socket:
    """Return a listening socket. Raises `SettingsError` when the address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Named TCP, because asyncio turns off the delay of small packets for what says so only.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
            "choose another OUTLAST_PORT"
        ) from error
    listener.setblocking(False)
    return listener


@contextlib.asynccontextmanager
async def listening(app: ASGIApp, listener: socket.socket) -> AsyncIterator[Bound]:
    """Run an application on a bound socket for as long as the block lasts."""
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    server = _Server(
        uvicorn.Config(
            app,
            lifespan="off",
            ws="websockets-sansio",
            ws_max_size=MAX_FRAME_BYTES,
            ws_per_message_deflate=False,
            access_log=False,  # paths can hold secrets
            server_header=False,
            log_config=None,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=CLOSE_SECONDS,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http server")
    ready = asyncio.create_task(server.ready.wait())
    try:
        await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        if not server.ready.is_set():
            await serving
            raise RuntimeError("the http server ended before it was ready")
        host, port = listener.getsockname()[:2]
        yield Bound(host, port)
    finally:
        ready.cancel()
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: who runs us decides when to stop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def _is_news(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], CutShort))
