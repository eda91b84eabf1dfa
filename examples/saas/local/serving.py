"""An ASGI application served by this process, on a port that is known before it starts."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp

STOP_SECONDS = 2
"""How long open answers are waited for; a page that follows a run would keep its own for ever."""


def listen(port: int = 0) -> socket.socket:
    """Return a socket that listens on `port`, on a free one if that is 0."""
    # Named TCP, because asyncio turns off the delay of small packets for what says so only.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    listener.listen()
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the address that the socket listens on."""
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket) -> AsyncIterator[None]:
    """Serve the application for as long as the block lasts."""
    server = _Server(
        uvicorn.Config(
            app,
            lifespan="on",
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: the owner of the process decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
