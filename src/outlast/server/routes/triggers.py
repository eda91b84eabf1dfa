"""Triggering: one run at a time as the contract has it, and many at once for our own clients."""

import json

import msgspec
from fastapi import APIRouter, Request, Response

from outlast.engine.tokens import Tokens
from outlast.protocol.bodies import TriggerBody, TriggerReply
from outlast.protocol.triggers import Trigger, Triggered
from outlast.server.auth import authenticate
from outlast.server.contract import TOKEN_HEADERS, answer, key_or, promise, structs
from outlast.server.intake import read_trigger
from outlast.server.problems import Problem, refused
from outlast.server.services import services

MAX_COALESCED = 256
TOKEN_SECONDS = 3600.0

router = APIRouter(tags=["triggers"])


class _Strict(Trigger, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A trigger whose unknown options are an error; older workers' links only ignore them."""


_triggers = msgspec.json.Decoder(list[_Strict])
_encoder = msgspec.json.Encoder()


@router.post(
    "/api/v1/tasks/{task_id:path}/trigger",
    response_model=TriggerReply,
    **promise(
        key_or("trigger:tasks:{task_id}"),
        body=TriggerBody,
        needs_body=True,
        answers={200: answer("The run that was made or found", headers=TOKEN_HEADERS)},
    ),
)
async def trigger(request: Request, task_id: str) -> Response:
    """Create a run of a task. The id may hold an encoded slash."""
    caller = await authenticate(request)
    caller.require("trigger", tasks=[task_id])
    wanted = read_trigger(task_id, await request.body(), request.headers)
    engine = services(request).engine
    [made] = await engine.trigger(caller.environment, [wanted], spend=caller.token)
    if made.error is not None:
        raise refused(made.error)
    reply = TriggerReply(id=made.run_id, is_cached=made.is_cached)
    scopes = (f"read:runs:{made.run_id}", f"write:inputStreams:{made.run_id}")
    return Response(
        reply.to_json(),
        media_type="application/json",
        headers=await caller.token_headers(engine, scopes, TOKEN_SECONDS),
    )


@router.post(
    "/api/outlast/v1/triggers",
    **promise(
        key_or("trigger:all"),
        body=structs(Trigger, many=True),
        needs_body=True,
        answers={200: answer("What became of each", structs(Triggered, many=True))},
    ),
)
async def trigger_many(request: Request) -> Response:
    """Create the runs of a coalesced request; each item has its own answer, in order."""
    caller = await authenticate(request)
    caller.require_whole("trigger")
    try:
        wanted = _triggers.decode(await request.body())
    except msgspec.ValidationError as error:
        raise _misfit(str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Problem(400, "invalid_json", "Invalid JSON") from None
    if len(wanted) > MAX_COALESCED:
        raise Problem(413, "too_many", f"send at most {MAX_COALESCED} triggers in one request")
    engine = services(request).engine
    made = await engine.trigger(caller.environment, wanted, spend=caller.token) if wanted else []
    return Response(
        _encoder.encode(made),
        media_type="application/json",
        # our clients hold the key: they sign tokens for browsers themselves, where one is wanted
        headers={"x-trigger-jwt-claims": json.dumps(Tokens.claims(caller.environment))},
    )


def _misfit(text: str) -> Problem:
    """Return the answer to triggers of another shape; what users do wrong most has its advice."""
    if text.endswith(".queue`"):
        text += "; a queue is a name, its limit is declared in code; concurrency_key= gives lanes"
    elif "unknown field" in text:
        text += "; this server knows no such option: leave it out, or update the server"
    return Problem(400, "invalid_request", text)
