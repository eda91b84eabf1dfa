"""Waitpoint tokens: made and read with a key, completed with a public token or the callback URL."""

import json

import msgspec
from fastapi import APIRouter, Request, Response

from outlast.engine.engine import Engine
from outlast.engine.errors import InvalidRequest, Unauthorized
from outlast.engine.payloads import MAX_PAYLOAD_BYTES
from outlast.engine.tokens import Tokens
from outlast.engine.waitpoints import Waitpoint
from outlast.protocol.body import Pagination
from outlast.protocol.messages import NewToken
from outlast.protocol.waitpoints import (
    TIMEOUT_CODE,
    TOKENS_PATH,
    CompleteTokenBody,
    CreatedToken,
    CreateTokenBody,
    ListedToken,
    SuccessReply,
    TokenDetail,
    TokenPage,
    callback_url,
)
from outlast.server.auth import Caller, authenticate
from outlast.server.contract import (
    OPEN,
    READ_ALL,
    TOKEN_HEADERS,
    WRITE_ALL,
    answer,
    key_or,
    promise,
)
from outlast.server.intake import read_delay, read_key_ttl
from outlast.server.problems import Problem, unauthorized
from outlast.server.queries import (
    PAGE,
    TOKEN_FILTERS,
    TOKEN_STATUSES,
    read_page,
    read_token_filters,
)
from outlast.server.services import services

MAX_CALLBACK_BYTES = 1024 * 1024
REQUEST_KEY = "x-trigger-request-idempotency-key"
_JSON = "application/json"
_SHOWN = {stored: shown for shown, stored in TOKEN_STATUSES.items()}

router = APIRouter(prefix=TOKENS_PATH, tags=["waitpoints"])


class _Completion(msgspec.Struct):
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_completions = msgspec.json.Decoder(_Completion)
_raw = msgspec.json.Decoder(msgspec.Raw)


@router.post(
    "",
    response_model=CreatedToken,
    **promise(
        WRITE_ALL,
        answers={200: answer("A token that a run can wait for", headers=TOKEN_HEADERS)},
    ),
)
async def create(request: Request, wanted: CreateTokenBody) -> Response:
    """Make a token that a run can wait for."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require_whole("write")
    seconds, moment = read_delay(wanted.timeout, "timeout")
    tags = (wanted.tags,) if isinstance(wanted.tags, str) else wanted.tags
    new = NewToken(
        timeout_at=moment,
        tags=tags,
        idempotency_key=wanted.idempotency_key,
        idempotency_key_ttl=read_key_ttl(wanted.idempotency_key_ttl),
    )
    if seconds is not None:
        new = msgspec.structs.replace(new, timeout=seconds)
    made, is_cached = await engine.waitpoints.create(
        caller.environment.id, new, request_key=request.headers.get(REQUEST_KEY)
    )
    reply = CreatedToken(id=made.id, is_cached=is_cached, url=_url(request, made))
    return Response(
        reply.to_json(), media_type=_JSON, headers=await _token_headers(engine, caller, made)
    )


@router.get("", response_model=TokenPage, **promise(READ_ALL, query={**TOKEN_FILTERS, **PAGE}))
async def list_tokens(request: Request) -> Response:
    """Return a page of tokens, newest first."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require_whole("read")
    try:
        page = await engine.waitpoints.page(
            caller.environment.id,
            read_token_filters(request.query_params),
            read_page(request.query_params),
        )
    except InvalidRequest as error:
        raise Problem(400, "invalid_query", str(error), param=error.param) from None
    body = TokenPage(
        data=tuple(
            ListedToken.model_validate(_shown(request, waitpoint)) for waitpoint in page.waitpoints
        ),
        pagination=Pagination(next=page.next, previous=page.previous),
    )
    return Response(body.to_json(), media_type=_JSON)


@router.get("/{token_id}", response_model=TokenDetail, **promise(READ_ALL))
async def retrieve(request: Request, token_id: str) -> Response:
    """Return a token with what it was completed with."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require_whole("read")
    waitpoint = await engine.waitpoints.retrieve(caller.environment.id, token_id)
    body = TokenDetail.model_validate(_shown(request, waitpoint) | _end(waitpoint))
    return Response(body.to_json(), media_type=_JSON)


@router.post(
    "/{token_id}/complete",
    response_model=SuccessReply,
    **promise(key_or("write:waitpoints:{token_id}"), body=CompleteTokenBody),
)
async def complete(request: Request, token_id: str) -> Response:
    """Complete a token; the first one wins, and all are told that it is completed."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require("write", waitpoints=[token_id])
    body = await request.body()
    try:
        data = _completions.decode(body or b"{}").data
        output = None if isinstance(data, msgspec.UnsetType) else bytes(data).decode()
    except msgspec.ValidationError as error:
        raise Problem(400, "invalid_request", str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Problem(400, "invalid_json", "Invalid JSON") from None
    if output is not None and len(output) > MAX_PAYLOAD_BYTES:
        raise Problem(413, "too_large", "Request body too large")
    await caller.spend(request, engine)
    await engine.waitpoints.complete(caller.environment.id, token_id, output)
    return Response(SuccessReply().to_json(), media_type=_JSON)


@router.post(
    "/{token_id}/callback/{secret}",
    response_model=SuccessReply,
    **promise(OPEN, body={}, fails=(401, 411, 413, 503)),
)
async def call_back(request: Request, token_id: str, secret: str) -> Response:
    """Complete a token with the whole body. Whoever knows the address may, once."""
    if "content-length" not in request.headers:
        raise Problem(411, "length_required", "send the body with a Content-Length header")
    engine = services(request).engine
    try:
        environment = await engine.waitpoints.check_callback(token_id, secret)
    except Unauthorized:
        raise unauthorized("Invalid callback URL") from None
    body = await request.body()
    if len(body) > MAX_CALLBACK_BYTES:
        raise Problem(413, "too_large", "Request body too large")
    await engine.waitpoints.complete(environment, token_id, _json_text(body))
    return Response(SuccessReply().to_json(), media_type=_JSON)


def _json_text(body: bytes) -> str:
    """Return the body as JSON text; what is none says only that it was called."""
    try:
        return bytes(_raw.decode(body)).decode()
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return "{}"


def _url(request: Request, waitpoint: Waitpoint) -> str:
    found = services(request)
    base = found.settings.api_url or str(request.base_url)
    return callback_url(base, waitpoint.id, found.engine.waitpoints.secret(waitpoint))


async def _token_headers(engine: Engine, caller: Caller, made: Waitpoint) -> dict[str, str]:
    claims = {**Tokens.claims(caller.environment), "scopes": [f"write:waitpoints:{made.id}"]}
    return {
        "x-trigger-jwt": await engine.waitpoints.public_token(caller.environment.id, made),
        "x-trigger-jwt-claims": json.dumps(claims),
    }


def _shown(request: Request, waitpoint: Waitpoint) -> dict[str, object]:
    return {
        "id": waitpoint.id,
        "url": _url(request, waitpoint),
        "status": _SHOWN[waitpoint.status],
        "tags": waitpoint.tags,
        "created_at": waitpoint.created_at,
        "completed_at": waitpoint.completed_at,
        "timeout_at": waitpoint.timeout_at,
        "idempotency_key": waitpoint.idempotency_key,
        "idempotency_key_expires_at": waitpoint.idempotency_expires_at,
    }


def _end(waitpoint: Waitpoint) -> dict[str, object]:
    if waitpoint.status == "timed_out":
        assert waitpoint.completed_at is not None, f"{waitpoint.id} timed out at no time"
        moment = waitpoint.completed_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        error = {"code": TIMEOUT_CODE, "message": f"Waitpoint timed out at {moment}"}
        return {"output": json.dumps(error), "output_type": _JSON, "output_is_error": True}
    if waitpoint.output is None:
        return {}
    return {"output": waitpoint.output, "output_type": _JSON, "output_is_error": False}
