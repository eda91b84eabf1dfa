"""Bodies of the waitpoint token routes, and the address that completes a token."""

from typing import Literal

from pydantic import AwareDatetime, Field, JsonValue

from outlast.protocol.body import Body, Moment, Pagination

TokenStatus = Literal["WAITING", "COMPLETED", "TIMED_OUT"]

TOKENS_PATH = "/api/v1/waitpoints/tokens"
CALLBACK = "/callback/"
TIMEOUT_CODE = "TRIGGER_WAITPOINT_TIMEOUT"


def callback_url(api_url: str, token: str, secret: str) -> str:
    """Return the address that completes a token: whoever knows it may post to it, once."""
    return f"{api_url.rstrip('/')}{TOKENS_PATH}/{token}{CALLBACK}{secret}"


def is_callback(path: str) -> bool:
    """Return whether a path holds the secret of a token."""
    return path.startswith(f"{TOKENS_PATH}/") and CALLBACK in path


class CreateTokenBody(Body):
    """`POST /api/v1/waitpoints/tokens`. `timeout` is a duration or a moment."""

    timeout: str | None = None
    tags: str | tuple[str, ...] = ()
    idempotency_key: str | None = None
    idempotency_key_ttl: str | None = Field(default=None, alias="idempotencyKeyTTL")


class CreatedToken(Body):
    """The answer to it. `url` completes the token without a key."""

    id: str
    is_cached: bool
    url: str = Field(repr=False)


class CompleteTokenBody(Body):
    """`POST /api/v1/waitpoints/tokens/{id}/complete`."""

    data: JsonValue = None


class SuccessReply(Body):
    """It is done, now or before."""

    success: Literal[True] = True


class WaitDurationBody(Body):
    """`POST /engine/v1/runs/{id}/wait/duration`."""

    date: AwareDatetime
    idempotency_key: str | None = None
    idempotency_key_ttl: str | None = Field(default=None, alias="idempotencyKeyTTL")


class WaitpointId(Body):
    """Which waitpoint it is."""

    id: str


class WaitDurationReply(Body):
    """When it will be over, and the waitpoint that is completed then."""

    wait_until: Moment
    waitpoint: WaitpointId


class ListedToken(Body):
    """A token in a list."""

    id: str
    url: str = Field(repr=False)
    status: TokenStatus
    tags: tuple[str, ...] = ()
    created_at: Moment
    completed_at: Moment | None = None
    timeout_at: Moment | None = None
    idempotency_key: str | None = None
    idempotency_key_expires_at: Moment | None = None


class TokenDetail(ListedToken):
    """`GET /api/v1/waitpoints/tokens/{id}`. `output` is JSON text."""

    output: str | None = None
    output_type: str | None = None
    output_is_error: bool | None = None


class TokenPage(Body):
    """`GET /api/v1/waitpoints/tokens`, newest first."""

    data: tuple[ListedToken, ...]
    pagination: Pagination
