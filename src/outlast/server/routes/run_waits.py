"""Waits that a process which a run started asks for over HTTP; tasks wait over their worker."""

from fastapi import APIRouter, Request, Response

from outlast.engine.engine import Engine
from outlast.protocol.messages import NewToken
from outlast.protocol.waitpoints import (
    SuccessReply,
    WaitDurationBody,
    WaitDurationReply,
    WaitpointId,
)
from outlast.server.auth import Caller, authenticate
from outlast.server.contract import WRITE_ALL, promise
from outlast.server.intake import read_key_ttl
from outlast.server.problems import Problem
from outlast.server.routes.waitpoints import REQUEST_KEY
from outlast.server.services import services

_JSON = "application/json"

router = APIRouter(prefix="/engine/v1/runs/{run_id}", tags=["waitpoints"])


@router.post("/wait/duration", response_model=WaitDurationReply, **promise(WRITE_ALL, fails=(422,)))
async def wait_for_duration(request: Request, run_id: str, wanted: WaitDurationBody) -> Response:
    """Make a token that is completed at a date, without suspending the run.

    A task in Python waits with `wait.for_` and `wait.until`, which let go of its worker.
    """
    caller, engine = await authenticate(request), services(request).engine
    await _require_going(caller, engine, run_id)
    new = NewToken(
        timeout_at=max(0.0, wanted.date.timestamp()),
        idempotency_key=wanted.idempotency_key,
        idempotency_key_ttl=read_key_ttl(wanted.idempotency_key_ttl),
    )
    made, _ = await engine.waitpoints.create(
        caller.environment.id, new, request_key=request.headers.get(REQUEST_KEY), completes=True
    )
    body = WaitDurationReply(wait_until=made.timeout_at, waitpoint=WaitpointId(id=made.id))
    return Response(body.to_json(), media_type=_JSON)


@router.post(
    "/waitpoints/tokens/{token_id}/wait",
    response_model=SuccessReply,
    **promise(WRITE_ALL, fails=(422,)),
)
async def wait_for_token(request: Request, run_id: str, token_id: str) -> Response:
    """Tell whether a run may wait for a token, without suspending it: both are there.

    A task in Python waits with `wait.for_token`, which lets go of its worker.
    """
    caller, engine = await authenticate(request), services(request).engine
    await _require_going(caller, engine, run_id)
    await engine.waitpoints.retrieve(caller.environment.id, token_id)
    return Response(SuccessReply().to_json(), media_type=_JSON)


async def _require_going(caller: Caller, engine: Engine, run_id: str) -> None:
    caller.require_whole("write")
    run = await engine.runs.retrieve(caller.environment.id, run_id)
    if run.has_ended:
        raise Problem(422, "has_ended", f"{run_id} has ended as {run.status}; it waits no more")
