"""A request and what its reply means, without any I/O."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar
from uuid import uuid4

import msgspec
from pydantic import BaseModel, ValidationError

from outlast.client.errors import ApiError, ServerError, api_error

T = TypeVar("T")
B = TypeVar("B", bound=BaseModel)

MAX_ATTEMPTS = 5
FIRST_WAIT = 1.0
FACTOR = 1.6
LONGEST_WAIT = 30.0
BUDGET = 10.0
"""Seconds that one call may take with all its retries."""

REQUEST_KEY = "x-trigger-request-idempotency-key"

_SUCCESS = range(200, 300)
_RETRIED = frozenset({408, 409, 429})
_SERVER_ERROR = 500
_TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered; header names are lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """One call of the API. `decode` reads a successful reply.

    `patience` is how long the server itself may take (a long poll), on top of the budget.
    """

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    decode: Callable[[Reply], T]
    body: bytes | None = None
    content_type: str = "application/json"
    query: tuple[tuple[str, str], ...] = ()
    patience: float = 0.0
    more_headers: tuple[tuple[str, str], ...] = ()
    request_key: str = field(default_factory=lambda: str(uuid4()))

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to this request alone."""
        headers = {"content-type": self.content_type, **dict(self.more_headers)}
        if self.method != "GET":
            headers[REQUEST_KEY] = self.request_key
        return headers


def read(request: Request[T], reply: Reply) -> T:
    """Return what a reply means. Raises an `ApiError` for one that says no."""
    if reply.status not in _SUCCESS:
        raise error_of(request, reply)
    try:
        return request.decode(reply)
    except (ValidationError, msgspec.MsgspecError, ValueError) as error:
        raise ServerError(
            f"the server's answer to {request.method} {request.path} cannot be read "
            f"({type(error).__name__}); client and server may be of very different versions",
            status=reply.status,
        ) from error


def model(cls: type[B]) -> Callable[[Reply], B]:
    """Return a decoder for a pydantic body."""
    return lambda reply: cls.model_validate_json(reply.body)


def struct(kind: type[T]) -> Callable[[Reply], T]:
    """Return a decoder for a body of structs."""
    decoder = msgspec.json.Decoder(kind)
    return lambda reply: decoder.decode(reply.body)


def retry_delay(reply: Reply | None, attempt: int, now: float) -> float | None:
    """Return seconds to wait before another attempt; None: the reply stands.

    `reply` is None when the network failed, `attempt` counts from 1, `now` is the wall clock.
    """
    if attempt >= MAX_ATTEMPTS:
        return None
    backoff = min(LONGEST_WAIT, FIRST_WAIT * FACTOR ** (attempt - 1))
    if reply is None:
        return backoff
    wanted = reply.headers.get("x-should-retry")
    retried = reply.status in _RETRIED or reply.status >= _SERVER_ERROR
    if wanted == "false" or (wanted != "true" and not retried):
        return None
    if reply.status == _TOO_MANY:
        told = told_wait(reply.headers, now)
        return backoff if told is None else told
    return backoff


def error_of(request: Request[T], reply: Reply) -> ApiError:
    """Return the error that a reply stands for."""
    try:
        body = json.loads(reply.body)
    except ValueError:
        body = None
    found = body.get("error") if isinstance(body, dict) else None
    fields = found if isinstance(found, dict) else body if isinstance(body, dict) else {}
    text = fields.get("message") if isinstance(found, dict) else found
    message = str(text) if text else f"{request.method} {request.path}: status {reply.status}"
    code, param = fields.get("code"), fields.get("param")
    return api_error(
        reply.status,
        message,
        code=code if isinstance(code, str) else None,
        param=param if isinstance(param, str) else None,
        headers=reply.headers,
    )


def told_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a rate limit asks for: by a moment in milliseconds, or as such."""
    for header, unit in (("x-ratelimit-reset", "moment"), ("retry-after", "seconds")):
        try:
            value = float(headers[header])
        except (KeyError, ValueError):
            continue
        wait = value / 1000 - now if unit == "moment" else value
        if math.isfinite(wait):
            return max(0.0, wait)
    return None
