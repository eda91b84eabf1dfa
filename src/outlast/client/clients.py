"""One async client per event loop, one sync client per process, none after a fork."""

import asyncio
import atexit
import json
import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from outlast.client.errors import ApiError, UsageError, api_error
from outlast.client.requests import BUDGET, Request
from outlast.client.settings import Settings, settings
from outlast.client.tokens import sign
from outlast.client.triggers import encode, trigger
from outlast.protocol.triggers import Refusal, Trigger, Triggered

if TYPE_CHECKING:
    from outlast.client.coalescer import Coalescer
    from outlast.client.transport import AsyncTransport, SyncTransport

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Connected:
    """The client of one loop and one server."""

    loop: asyncio.AbstractEventLoop
    transport: "AsyncTransport"
    coalescer: "Coalescer"
    closer: AsyncGenerator[None, None]


class _Process:
    """Every client of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connected: dict[tuple[int, Settings], _Connected] = {}
        self.blocking: dict[Settings, SyncTransport] = {}
        self.claims: dict[Settings, str] = {}


_process: Final = _Process()
_inherited: Final[list[object]] = []
"""Clients of the parent process, kept from being closed: their sockets are the parent's."""


async def send(request: Request[T], *, budget: float = BUDGET) -> T:
    """Send a request to the configured server. Raises `ApiError` or `TransportError`."""
    client = await _client()
    return await client.transport.send(request, budget=budget)


def send_sync(request: Request[T], *, budget: float = BUDGET) -> T:
    """Blocking `send`."""
    return _blocking().send(request, budget=budget)


async def lines(request: Request[object], *, silence: float) -> AsyncIterator[str]:
    """Yield the lines of an answer as they come. Raises `ApiError` or `TransportError`."""
    client = await _client()
    async for line in client.transport.lines(request, silence=silence):
        yield line


def lines_sync(request: Request[object], *, silence: float) -> Iterator[str]:
    """Blocking `lines`."""
    return _blocking().lines(request, silence=silence)


async def send_trigger(wanted: Trigger) -> Triggered:
    """Create a run, in one request with all others of this moment. A refusal is in the answer."""
    client = await _client()
    return await client.coalescer.trigger(wanted)


def send_trigger_sync(wanted: Trigger) -> Triggered:
    """Create a run and block. A refusal is in the answer."""
    reply = _blocking().send(trigger([encode(wanted)]))
    learn(reply.claims)
    return reply.answers[0]


def learn(claims: str | None) -> None:
    """Take in what public tokens have to claim, which the answer to a trigger says."""
    _learn(settings(), claims)


def refused(refusal: Refusal) -> ApiError:
    """Return the error for a trigger that has no run."""
    return api_error(refusal.status, refusal.message, code=refusal.code, param=refusal.param)


def public_token(scopes: Sequence[str], lifetime: float) -> str:
    """Return a token for browsers, signed here with the environment's key.

    Works once a run or batch was triggered: the server told then what such a token must claim.
    """
    wanted = settings()
    if not wanted.signs:
        raise UsageError(
            "only a root key signs tokens; use auth.create_public_token(), which asks the server"
        )
    claims = _process.claims.get(wanted)
    if claims is None:
        raise UsageError(
            "no public token can be signed before this process has triggered a run; "
            "use auth.create_public_token(), which asks the server"
        )
    return sign(json.loads(claims), wanted.secret_key, scopes, time.time(), lifetime)


async def aclose() -> None:
    """Close the connections of the running event loop and the blocking ones.

    Optional: they are closed with their loop or process anyway. The next call opens new ones.
    """
    loop = asyncio.get_running_loop()
    with _process.lock:
        mine = [key for key, client in _process.connected.items() if client.loop is loop]
        clients = [_process.connected.pop(key) for key in mine]
    for client in clients:
        await client.closer.aclose()
    _close_blocking()


async def _client() -> _Connected:
    loop = asyncio.get_running_loop()
    key = (id(loop), settings())
    client = _process.connected.get(key)
    if client is None or client.loop is not loop:
        client = await _connect(loop, key)
    return client


async def _connect(loop: asyncio.AbstractEventLoop, key: tuple[int, Settings]) -> _Connected:
    from outlast.client.coalescer import Coalescer  # noqa: PLC0415 - httpx loads at the first call
    from outlast.client.transport import AsyncTransport  # noqa: PLC0415

    transport = AsyncTransport(key[1])
    coalescer = Coalescer(transport, partial(_learn, key[1]))
    closer = _close_with_loop(transport, coalescer)
    client = _Connected(loop, transport, coalescer, closer)
    with _process.lock:
        for old, known in list(_process.connected.items()):
            if known.loop.is_closed():
                del _process.connected[old]
        _process.connected[key] = client
    await anext(closer)
    return client


async def _close_with_loop(
    transport: "AsyncTransport", coalescer: "Coalescer"
) -> AsyncGenerator[None, None]:
    """Close the client when the loop shuts its generators down, as `asyncio.run` does."""
    try:
        yield
    finally:
        await coalescer.close()
        await transport.close()


def _blocking() -> "SyncTransport":
    from outlast.client.transport import SyncTransport  # noqa: PLC0415 - as above

    wanted = settings()
    with _process.lock:
        transport = _process.blocking.get(wanted)
        if transport is None:
            if not _process.blocking:
                atexit.register(_close_blocking)
            transport = _process.blocking[wanted] = SyncTransport(wanted)
    return transport


def _close_blocking() -> None:
    with _process.lock:
        transports = list(_process.blocking.values())
        _process.blocking.clear()
    for transport in transports:
        transport.close()


def _learn(wanted: Settings, claims: str | None) -> None:
    if claims is not None:
        _process.claims[wanted] = claims


def _forget() -> None:
    """Begin anew in a forked child: a shared connection would mix up two processes' answers."""
    _inherited.append((_process.connected, _process.blocking))
    _process.lock = threading.Lock()
    _process.connected = {}
    _process.blocking = {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
