"""Public tokens: claims for callers that sign themselves, whole tokens for those that cannot."""

import time
from typing import Annotated

from fastapi import APIRouter, Body, Request, Response

from outlast.engine.tokens import MAX_SECONDS, Tokens
from outlast.protocol.bodies import PublicTokenReply, PublicTokenRequest
from outlast.protocol.durations import parse_duration
from outlast.server.auth import authenticate
from outlast.server.contract import KEY, MINTER, promise
from outlast.server.problems import Problem
from outlast.server.scopes import exceeding, is_scope
from outlast.server.services import services

DEFAULT_SECONDS = 15 * 60.0

router = APIRouter(prefix="/api/v1/auth", tags=["tokens"])


@router.post("/jwt/claims", **promise(KEY))
async def claims(request: Request) -> dict[str, object]:
    """Return what a caller with a root key signs into its own tokens."""
    caller = await authenticate(request)
    caller.require_secret()
    return Tokens.claims(caller.environment)


@router.post("/public-tokens", response_model=PublicTokenReply, **promise(MINTER))
async def public_tokens(
    request: Request, wanted: Annotated[PublicTokenRequest, Body()]
) -> Response:
    """Mint a token with the scopes asked for."""
    caller = await authenticate(request)
    caller.require_minter()
    if not all(map(is_scope, wanted.scopes)):
        raise Problem(422, "invalid_scope", "a scope is action:resource[:id]", param="scopes")
    denied = [] if caller.scopes is None else exceeding(caller.scopes, wanted.scopes)
    if denied:
        raise Problem(
            403,
            "scopes_exceed_key_access",
            "a token cannot hand out more than it may do itself",
            param="scopes",
            extra={"deniedScopes": denied},
        )
    skipped = wanted.realtime.skip_columns if wanted.realtime is not None else None
    token = await services(request).engine.tokens.mint(
        caller.environment,
        wanted.scopes,
        seconds=_seconds(wanted.expiration_time),
        one_time=wanted.one_time_use,
        skip_columns=skipped or (),
    )
    return Response(PublicTokenReply(token=token).to_json(), media_type="application/json")


def _seconds(expiration: str | int | None) -> float:
    """Return a life from a duration or a moment; never over the longest one."""
    if expiration is None:
        return DEFAULT_SECONDS
    if isinstance(expiration, int):
        seconds: float | None = expiration - time.time()
    else:
        seconds = parse_duration(expiration)
    if seconds is None or seconds <= 0:
        raise Problem(
            422,
            "invalid_expiration",
            "expirationTime must be a duration such as 1h or a moment to come",
            param="expirationTime",
        )
    return min(seconds, MAX_SECONDS)
