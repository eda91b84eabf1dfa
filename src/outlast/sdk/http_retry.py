"""httpx clients that try a request again: by its status, after a failed connection or a timeout.

The waits are plain sleeps, because requests are made in steps, where a run cannot wait durably.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import httpx

from outlast import backoff
from outlast.sdk.durations import seconds
from outlast.sdk.errors import UsageError
from outlast.sdk.retry import Retry

ResetFormat = Literal[
    "unix_timestamp", "unix_timestamp_in_ms", "iso_8601", "iso_8601_duration_openai_variant"
]

_USUAL = Retry()
_USUAL_STATUSES = "429,408,409,5xx"
_STATUSES = re.compile(r"[1-5][0-9x][0-9x]")


@dataclass(frozen=True, slots=True)
class Headers:
    """Wait until a rate limit is lifted, as headers of the response say.

    A response with requests left, or without a moment that can be read, is tried again by `retry`,
    which limits the tries in every case.
    """

    limit: str = "x-ratelimit-limit"
    remaining: str = "x-ratelimit-remaining"
    reset: str = "x-ratelimit-reset"
    format: ResetFormat = "unix_timestamp"
    retry: Retry = _USUAL

    def wait(self, response: httpx.Response, now: float) -> float | None:
        """Return the seconds until the limit is lifted; None: the headers do not say."""
        reset = response.headers.get(self.reset)
        left = response.headers.get(self.remaining)
        if reset is None or (left is not None and left.strip() not in {"0", "0.0"}):
            return None
        try:
            return max(0.0, _moment(reset.strip(), self.format, now) - now)
        except (ValueError, OverflowError, UsageError):
            return None


@dataclass(frozen=True, slots=True)
class HttpRetry:
    """When a request is made again.

    `by_status` maps statuses ("429", "5xx", "429,503") to a policy; the first entry that fits
    counts. None for `connection_error` or `timeout`: such errors are raised at once.
    """

    by_status: Mapping[str, Retry | Headers] = field(
        default_factory=lambda: {_USUAL_STATUSES: _USUAL}
    )
    connection_error: Retry | None = _USUAL
    timeout: Retry | None = _USUAL

    def __post_init__(self) -> None:
        """Refuse statuses that cannot be read."""
        for statuses in self.by_status:
            for part in statuses.split(","):
                if not _STATUSES.fullmatch(part.strip().lower()):
                    raise UsageError(
                        f'by_status has {part.strip()!r}; write a status ("429") or a class ("5xx")'
                    )

    def after_response(self, response: httpx.Response, tries: int) -> float | None:
        """Return seconds to wait before another try; None: the response stands."""
        rule = self._rule(response.status_code)
        if rule is None:
            return None
        policy = rule.retry if isinstance(rule, Headers) else rule
        pause = backoff.delay(policy.policy(), tries)
        if pause is None or not isinstance(rule, Headers):
            return pause
        told = rule.wait(response, datetime.now(UTC).timestamp())
        return pause if told is None else told

    def after_error(self, error: httpx.TransportError, tries: int) -> float | None:
        """Return seconds to wait before another try; None: the error is raised."""
        timed_out = isinstance(error, httpx.TimeoutException)
        policy = self.timeout if timed_out else self.connection_error
        return None if policy is None else backoff.delay(policy.policy(), tries)

    def _rule(self, status: int) -> Retry | Headers | None:
        for statuses, rule in self.by_status.items():
            if any(_fits(part.strip().lower(), status) for part in statuses.split(",")):
                return rule
        return None


class AsyncTransport(httpx.AsyncBaseTransport):
    """Tries requests again that another transport makes."""

    def __init__(
        self, inner: httpx.AsyncBaseTransport | None = None, retry: HttpRetry | None = None
    ) -> None:
        self._inner = inner or httpx.AsyncHTTPTransport()
        self._retry = retry or HttpRetry()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Make a request, again and again if need be."""
        await request.aread()  # a body that was a stream could not be sent twice
        tries = 0
        while True:
            tries += 1
            try:
                response = await self._inner.handle_async_request(request)
            except httpx.TransportError as error:
                if (pause := self._retry.after_error(error, tries)) is None:
                    raise
            else:
                if (pause := self._retry.after_response(response, tries)) is None:
                    return response
                await response.aclose()
            await asyncio.sleep(pause)

    async def aclose(self) -> None:
        """Close the transport within."""
        await self._inner.aclose()


class Transport(httpx.BaseTransport):
    """Tries requests again that another transport makes; blocking."""

    def __init__(
        self, inner: httpx.BaseTransport | None = None, retry: HttpRetry | None = None
    ) -> None:
        self._inner = inner or httpx.HTTPTransport()
        self._retry = retry or HttpRetry()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Make a request, again and again if need be."""
        request.read()  # a body that was a stream could not be sent twice
        tries = 0
        while True:
            tries += 1
            try:
                response = self._inner.handle_request(request)
            except httpx.TransportError as error:
                if (pause := self._retry.after_error(error, tries)) is None:
                    raise
            else:
                if (pause := self._retry.after_response(response, tries)) is None:
                    return response
                response.close()
            time.sleep(pause)

    def close(self) -> None:
        """Close the transport within."""
        self._inner.close()


class AsyncClient(httpx.AsyncClient):
    """An `httpx.AsyncClient` that tries again. `timeout` is in seconds.

    What it does not take is said with `httpx.AsyncClient(transport=retry.AsyncTransport(...))`.
    """

    def __init__(
        self,
        retry: HttpRetry | None = None,
        *,
        base_url: str = "",
        headers: Mapping[str, str] | None = None,
        timeout: float | None = 5.0,
        follow_redirects: bool = False,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(
            base_url=base_url,
            headers=headers,
            timeout=timeout,
            follow_redirects=follow_redirects,
            transport=AsyncTransport(transport, retry),
        )


class Client(httpx.Client):
    """An `httpx.Client` that tries again; blocking twin of `AsyncClient`."""

    def __init__(
        self,
        retry: HttpRetry | None = None,
        *,
        base_url: str = "",
        headers: Mapping[str, str] | None = None,
        timeout: float | None = 5.0,
        follow_redirects: bool = False,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(
            base_url=base_url,
            headers=headers,
            timeout=timeout,
            follow_redirects=follow_redirects,
            transport=Transport(transport, retry),
        )


def _fits(wanted: str, status: int) -> bool:
    return all(want in ("x", digit) for want, digit in zip(wanted, str(status), strict=True))


def _moment(text: str, form: ResetFormat, now: float) -> float:
    """Return when a limit is lifted, in seconds since the epoch."""
    if form == "unix_timestamp":
        return float(text)
    if form == "unix_timestamp_in_ms":
        return float(text) / 1000
    if form == "iso_8601":
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    return now + seconds(text, "the reset of a rate limit")
