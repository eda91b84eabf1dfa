"""Two executors for requests: one blocks, one awaits. Both keep a budget over all retries."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Generator, Iterator
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final, TypeVar

import httpx

from outlast.client.errors import TransportError
from outlast.client.requests import BUDGET, Reply, Request, error_of, read, retry_delay
from outlast.client.settings import Settings

T = TypeVar("T")

API_VERSION: Final = "2025-07-16"

_CONNECT_SECONDS: Final = 3.0
_LEAST_SECONDS: Final = 1.0
_SHARE: Final = 0.5
"""Part of what is left of the budget that one attempt may take, so that a hung one gets a heir."""

_LIMITS: Final = httpx.Limits(
    max_connections=None, max_keepalive_connections=20, keepalive_expiry=15
)


class SyncTransport:
    """Sends requests and blocks. Safe to use from many threads."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.api_url
        self._http = httpx.Client(
            headers=_headers(),
            auth=_Bearer(settings),
            limits=_LIMITS,
            trust_env=not settings.loopback,
            verify=_trusted() if settings.api_url.startswith("https") else False,
        )

    def send(self, request: Request[T], *, budget: float = BUDGET) -> T:
        """Return what the server answered. Raises `ApiError` or `TransportError`."""
        call = _Call(request, self._url, budget)
        while True:
            try:
                reply = _reply(
                    self._http.request(
                        request.method,
                        _address(self._url + request.path),
                        content=request.body,
                        params=request.query or None,
                        headers=call.headers,
                        timeout=call.timeout(),
                    )
                )
            except httpx.TransportError as error:
                wait = call.failed(error)
            else:
                answered = call.answered(reply)
                if answered is None:
                    return read(request, reply)
                wait = answered
            time.sleep(wait)

    def lines(self, request: Request[object], *, silence: float) -> Iterator[str]:
        """Yield the lines of an answer as they come. Raises `ApiError` or `TransportError`.

        `silence`: after so many seconds without a word the connection counts as lost.
        """
        timeout = httpx.Timeout(silence, connect=_CONNECT_SECONDS)
        try:
            with self._http.stream(
                request.method,
                _address(self._url + request.path),
                headers=request.headers(),
                timeout=timeout,
            ) as response:
                if not response.is_success:
                    response.read()
                    raise error_of(request, _reply(response))
                lines = _Lines()
                for piece in response.iter_bytes():
                    yield from lines.take(piece)
        except httpx.TransportError as error:
            raise _cut_off(request, error) from error

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncTransport:
    """Sends requests on the event loop it was first used on."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.api_url
        self._http = httpx.AsyncClient(
            headers=_headers(),
            auth=_Bearer(settings),
            limits=_LIMITS,
            trust_env=not settings.loopback,
            verify=_trusted() if settings.api_url.startswith("https") else False,
        )

    async def send(self, request: Request[T], *, budget: float = BUDGET) -> T:
        """Return what the server answered. Raises `ApiError` or `TransportError`."""
        call = _Call(request, self._url, budget)
        while True:
            try:
                reply = _reply(
                    await self._http.request(
                        request.method,
                        _address(self._url + request.path),
                        content=request.body,
                        params=request.query or None,
                        headers=call.headers,
                        timeout=call.timeout(),
                    )
                )
            except httpx.TransportError as error:
                wait = call.failed(error)
            else:
                answered = call.answered(reply)
                if answered is None:
                    return read(request, reply)
                wait = answered
            await asyncio.sleep(wait)

    async def lines(self, request: Request[object], *, silence: float) -> AsyncIterator[str]:
        """Yield the lines of an answer as they come. Raises `ApiError` or `TransportError`.

        `silence`: after so many seconds without a word the connection counts as lost.
        """
        timeout = httpx.Timeout(silence, connect=_CONNECT_SECONDS)
        try:
            async with self._http.stream(
                request.method,
                _address(self._url + request.path),
                headers=request.headers(),
                timeout=timeout,
            ) as response:
                if not response.is_success:
                    await response.aread()
                    raise error_of(request, _reply(response))
                lines = _Lines()
                async for piece in response.aiter_bytes():
                    for line in lines.take(piece):
                        yield line
        except httpx.TransportError as error:
            raise _cut_off(request, error) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class _Call:
    """One logical call: its attempts share a budget and a request key."""

    def __init__(self, request: Request[T], url: str, budget: float) -> None:
        self.headers = request.headers()
        self._name = f"{request.method} {url}{request.path}"
        self._patience = request.patience
        self._budget = budget
        self._until = time.monotonic() + budget + request.patience
        self._attempt = 0

    def timeout(self) -> httpx.Timeout:
        """Return how long the next attempt may take."""
        self._attempt += 1
        left = self._until - self._patience - time.monotonic()
        share = self._patience + max(_LEAST_SECONDS, left * _SHARE)
        return httpx.Timeout(share, connect=min(share, _CONNECT_SECONDS))

    def failed(self, error: httpx.TransportError) -> float:
        """Return the wait before the next attempt. Raises `TransportError` when there is none."""
        wait = retry_delay(None, self._attempt, time.time())
        if wait is None or not self._affords(wait):
            raise TransportError(
                f"{self._name} got no answer in {self._attempt} attempts within "
                f"{self._budget:g} s ({type(error).__name__}: {error}); is the server "
                "running, and the URL right?"
            ) from error
        return wait

    def answered(self, reply: Reply) -> float | None:
        """Return the wait before the next attempt; None: the reply stands."""
        wait = retry_delay(reply, self._attempt, time.time())
        return wait if wait is not None and self._affords(wait) else None

    def _affords(self, wait: float) -> bool:
        return time.monotonic() + wait + _LEAST_SECONDS <= self._until


class _Lines:
    """Lines of an answer however its pieces fall; only a line feed ends one."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, piece: bytes) -> list[str]:
        """Return the lines that a piece completes."""
        *whole, self._rest = (self._rest + piece).split(b"\n")
        return [line.decode() for line in whole]


def _cut_off(request: Request[object], error: httpx.TransportError) -> TransportError:
    return TransportError(
        f"{request.method} {request.path} was cut off ({type(error).__name__}: {error})"
    )


def _reply(response: httpx.Response) -> Reply:
    return Reply(response.status_code, response.content, response.headers)


class _Bearer(httpx.Auth):
    """Adds what opens the server; asked for each request, because a lent token is renewed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request with its credential."""
        request.headers["authorization"] = f"Bearer {self._settings.bearer}"
        yield request


def _headers() -> dict[str, str]:
    return {
        "user-agent": f"outlast-python/{_version()}",
        "x-trigger-api-version": API_VERSION,
        "x-trigger-source": "sdk",
    }


@lru_cache(maxsize=64)
def _address(url: str) -> httpx.URL:
    """Return an address, read once: most requests go to the same few."""
    return httpx.URL(url)


@cache
def _trusted() -> ssl.SSLContext:
    """Return the certificates to trust, read once: that takes a tenth of a second."""
    return httpx.create_ssl_context()


@cache
def _version() -> str:
    try:
        return version("outlast")
    except PackageNotFoundError:  # run from a checkout
        return "0"
