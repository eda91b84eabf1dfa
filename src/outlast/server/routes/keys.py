"""Keys of the caller's environment, and the audit log of its pages: for admins and root keys."""

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response

from outlast.engine.keys import KeyInfo
from outlast.protocol.durations import parse_duration
from outlast.protocol.keeping import (
    DeedBody,
    DeedPage,
    KeyBody,
    KeyCreate,
    KeyList,
    KeyReply,
    KeyRotate,
)
from outlast.server.auth import authenticate
from outlast.server.contract import ROOT, promise
from outlast.server.problems import Problem
from outlast.server.services import services

MAX_PAGE = 200
_JSON = "application/json"
_FRESH = {"cache-control": "no-store"}

router = APIRouter(prefix="/api/outlast/v1", tags=["keys"])


@router.get("/keys", response_model=KeyList, **promise(ROOT))
async def list_keys(request: Request) -> Response:
    """List the keys that work now, without their secrets."""
    caller = await authenticate(request)
    caller.require_admin()
    found = await services(request).engine.keys.list(caller.environment.id)
    return Response(KeyList(data=tuple(map(_body, found))).to_json(), media_type=_JSON)


@router.post("/keys", status_code=201, response_model=KeyReply, **promise(ROOT))
async def create(request: Request, wanted: Annotated[KeyCreate, Body()]) -> Response:
    """Make a key that does everything but make keys; the reply alone shows it."""
    caller = await authenticate(request)
    caller.require_admin()
    made = await services(request).engine.keys.create(
        caller.environment.id, wanted.name, seconds=_seconds(wanted.expires, "expires")
    )
    return Response(_reply(made.id, made.secret), 201, media_type=_JSON, headers=_FRESH)


@router.post("/keys/rotate", status_code=201, response_model=KeyReply, **promise(ROOT))
async def rotate(request: Request, wanted: Annotated[KeyRotate, Body()]) -> Response:
    """Make a new root key; the present one goes on working for the grace period."""
    caller = await authenticate(request)
    caller.require_admin()
    grace = _seconds(wanted.grace, "grace")
    made = await services(request).engine.keys.rotate(caller.environment.id, grace=grace or 0.0)
    return Response(_reply(made.id, made.secret), 201, media_type=_JSON, headers=_FRESH)


@router.delete("/keys/{key_id}", status_code=204, **promise(ROOT))
async def revoke(request: Request, key_id: str) -> Response:
    """Let an additional key open nothing any more."""
    caller = await authenticate(request)
    caller.require_admin()
    await services(request).engine.keys.revoke(caller.environment.id, key_id)
    return Response(status_code=204)


@router.get("/deeds", response_model=DeedPage, **promise(ROOT))
async def deeds(
    request: Request,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> Response:
    """List what people did on the pages of the environment, newest first."""
    caller = await authenticate(request)
    caller.require_admin()
    found = await services(request).engine.users.deeds(
        caller.environment.id, limit=limit, before=before
    )
    body = DeedPage(
        data=tuple(
            DeedBody(
                id=deed.id,
                at=deed.at,
                account=deed.account,
                action=deed.action,
                target=deed.target,
                outcome=deed.outcome,
            )
            for deed in found
        ),
        next=found[-1].id if len(found) == limit else None,
    )
    return Response(body.to_json(), media_type=_JSON)


def _body(key: KeyInfo) -> KeyBody:
    return KeyBody(
        id=key.id,
        kind=key.kind,
        name=key.name,
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
    )


def _reply(key_id: str, secret: str) -> bytes:
    return KeyReply(id=key_id, secret=secret).to_json()


def _seconds(text: str | None, param: str) -> float | None:
    if text is None:
        return None
    seconds = parse_duration(text)
    if seconds is None:
        raise Problem(422, "invalid_option", f"{param} is a duration such as 30d", param=param)
    return seconds
