"""Realtime feeds: one run, the runs with some tags, the runs of a batch."""

import time

import msgspec
from fastapi import APIRouter, Request, Response

from outlast.engine.engine import Engine
from outlast.protocol.realtime import CURSOR, HANDLE, OFFSET, SCHEMA, UP_TO_DATE
from outlast.server.auth import Caller, authenticate
from outlast.server.contract import BOOLEAN, READ_RUN, TEXT, Schema, answer, key_or, promise
from outlast.server.problems import forbidden
from outlast.server.realtime import rows
from outlast.server.realtime.shapes import (
    NOTHING,
    Ask,
    ask_for_batch,
    ask_for_run,
    ask_for_tags,
    read_tags,
)
from outlast.server.routes.runs import require_run
from outlast.server.scopes import reaches
from outlast.server.services import services

_JSON = "application/json"

router = APIRouter(tags=["realtime"])

SHAPE: dict[str, Schema] = {
    "offset": {"type": "string", "description": "-1, or the electric-offset of the last answer"},
    "handle": {"type": "string", "description": "the electric-handle of the last answer"},
    "live": {**BOOLEAN, "description": "whether to be held until something changes"},
    "cursor": {"type": "string", "description": "the electric-cursor of the last answer"},
    "skipColumns": {"type": "string", "description": "columns to leave out, with commas between"},
}
TAGGED: dict[str, Schema] = {
    "tags": {"type": "string", "description": "1 to 10 tags, with commas between: all of them"},
    "createdAt": {"type": "string", "description": "how far back, as a duration up to 24h"},
    **SHAPE,
}
_MESSAGES: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "key": TEXT,
            "value": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
            "headers": {"type": "object"},
        },
        "required": ["headers"],
    },
}
FEED = {
    200: answer(
        "Rows of runs, and a message when these are all",
        _MESSAGES,
        headers={
            HANDLE: "names the feed",
            OFFSET: "what the caller has now",
            SCHEMA: "how columns are read; of answers that are not live",
            CURSOR: "to be sent with the next request; of live answers",
        },
    ),
    409: answer("The handle is another feed's: begin anew with offset -1", _MESSAGES),
}


@router.get("/realtime/v1/runs/{run_id}", **promise(READ_RUN, query=SHAPE, answers=FEED))
async def follow_run(request: Request, run_id: str) -> Response:
    """Return a run and then its changes; of a run that is not there yet nothing, until it is."""
    caller = await authenticate(request)
    await _require_run(caller, services(request).engine, run_id)
    ask = ask_for_run(caller.environment.id, run_id, request.query_params, _mask(caller))
    return await _answer(request, caller, ask)


@router.get(
    "/realtime/v1/runs",
    **promise(key_or("read:runs", "read:tags:{tag}"), query=TAGGED, answers=FEED),
)
async def follow_tags(request: Request) -> Response:
    """Return the runs that have all the tags, and then new ones and changes."""
    caller = await authenticate(request)
    tags = read_tags(request.query_params)
    caller.require("read", runs=None, tags=tags)
    ask = ask_for_tags(caller.environment.id, tags, request.query_params, _mask(caller))
    return await _answer(request, caller, ask)


@router.get(
    "/realtime/v1/batches/{batch_id}",
    **promise(key_or("read:batch:{batch_id}", "read:runs"), query=SHAPE, answers=FEED),
)
async def follow_batch(request: Request, batch_id: str) -> Response:
    """Return the runs of a batch, and then their changes."""
    caller = await authenticate(request)
    caller.require("read", runs=None, batch=(batch_id,))
    ask = ask_for_batch(caller.environment.id, batch_id, request.query_params, _mask(caller))
    return await _answer(request, caller, ask)


async def _answer(request: Request, caller: Caller, ask: Ask) -> Response:
    if ask.is_stale:
        return _begin_anew(ask)
    answer = await services(request).feeds.answer(caller.environment.id, ask)
    headers = {HANDLE: ask.shape.handle, OFFSET: str(answer.seen), UP_TO_DATE: "true"}
    if ask.live:
        headers[CURSOR] = str(int(time.time() * 1000))
    else:
        headers[SCHEMA] = rows.schema(ask.shape.skipped)
    return Response(answer.body, headers=headers, media_type=_JSON)


def _begin_anew(ask: Ask) -> Response:
    """Return the answer to a caller whose handle is not this feed's: forget all, begin again.

    Not to be repeated as it is, which clients of plain calls do with a 409.
    """
    return Response(
        msgspec.json.encode([rows.MUST_REFETCH]),
        409,
        {HANDLE: ask.shape.handle, OFFSET: str(NOTHING), "x-should-retry": "false"},
        media_type=_JSON,
    )


async def _require_run(caller: Caller, engine: Engine, run_id: str) -> None:
    """Let pass who may read a run, by its own id also before it is there. Raises `Problem`."""
    if caller.token is None or reaches(caller.token.scopes, "read", {"runs": (run_id,)}):
        return
    found = await engine.runs.read(caller.environment.id, [run_id])
    if not found:
        raise forbidden()
    require_run(caller, "read", found[0])


def _mask(caller: Caller) -> frozenset[str]:
    """Return the columns that the caller's token leaves out, which a query cannot undo."""
    return frozenset() if caller.token is None else frozenset(caller.token.skip_columns)
