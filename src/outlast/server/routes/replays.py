"""A run again: replayed with the same or other facts, or rescheduled before it starts."""

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response

from outlast.protocol.bodies import IdReply, RunDetail
from outlast.protocol.bulk import ReplayBody, RescheduleBody
from outlast.server.auth import authenticate
from outlast.server.contract import WRITE_RUN, promise
from outlast.server.intake import read_delay
from outlast.server.problems import refused
from outlast.server.replays import read_replay
from outlast.server.routes.runs import is_legacy, require_write, shown
from outlast.server.services import services

router = APIRouter(tags=["runs"])


@router.post(
    "/api/v1/runs/{run_id}/replay",
    response_model=IdReply,
    **promise(WRITE_RUN, body=ReplayBody),
)
async def replay(request: Request, run_id: str) -> Response:
    """Make a new run with what this one was given, or with what the body changes of it."""
    caller, engine = await authenticate(request), services(request).engine
    await require_write(caller, engine, run_id)
    original = await engine.replays.original(caller.environment.id, run_id)
    wanted = read_replay(original, await request.body(), request.headers)
    made = (await engine.replays.replay(caller.environment, {run_id: wanted}))[run_id]
    if made.error is not None:
        raise refused(made.error)
    return Response(IdReply(id=made.run_id).to_json(), media_type="application/json")


@router.post("/api/v1/runs/{run_id}/reschedule", response_model=RunDetail, **promise(WRITE_RUN))
async def reschedule(
    request: Request, run_id: str, wanted: Annotated[RescheduleBody, Body()]
) -> Response:
    """Let a delayed run start at another moment."""
    caller, engine = await authenticate(request), services(request).engine
    await require_write(caller, engine, run_id)
    delay, delay_until = read_delay(wanted.delay, "delay")
    await engine.reschedule(caller.environment, run_id, delay=delay, delay_until=delay_until)
    found = await engine.runs.detail(caller.environment.id, run_id)
    return shown(found, legacy=is_legacy(request))
