"""Streams over HTTP: read as server-sent events, written in other languages, messages sent."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Literal
from uuid import uuid4

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from outlast.engine.engine import Engine
from outlast.engine.errors import Conflict, InvalidRequest
from outlast.engine.streams import Read, check_key
from outlast.protocol.streams import (
    END_COMMENT,
    MAX_CHUNK_BYTES,
    MAX_MESSAGE_BYTES,
    PART_ID,
    STREAMS_PATH,
)
from outlast.server.auth import Caller, authenticate
from outlast.server.contract import (
    EVENTS,
    KEY,
    LINES,
    READ_RUN,
    TEXT,
    Schema,
    answer,
    key_or,
    promise,
)
from outlast.server.lines import read_lines
from outlast.server.listening import CutShort
from outlast.server.problems import Problem
from outlast.server.routes.runs import require_run
from outlast.server.routes.waitpoints import REQUEST_KEY
from outlast.server.services import services

KEEPALIVE_SECONDS = 15.0
_DEFAULT_PATIENCE = 60
_LONGEST_PATIENCE = 600
_MOST_LINES = 100
_LAST = 2**62
_JSON = "application/json"
_LINES = re.compile("\r\n|\r|\n")


class _Sent(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw(b"null")


Target = Literal["self", "parent", "root"]
router = APIRouter(prefix=STREAMS_PATH, tags=["streams"], default_response_class=Response)

READING: dict[str, Schema] = {
    "last-event-id": {"type": "string", "description": "the id of the last event that came"},
    "timeout-seconds": {"type": "string", "description": "when to end if nothing comes: 60"},
    "x-trigger-stream-start": {"type": "string", "description": "latest: only what comes now"},
}
SENT: Schema = {"type": "object", "properties": {"data": {}}}
OK: Schema = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "error": TEXT},
    "required": ["ok"],
}


_sent = msgspec.json.Decoder(_Sent)


@router.get(
    "/{run_id}/{key}",
    **promise(
        READ_RUN,
        headers=READING,
        answers={200: answer("Chunks as server-sent events", TEXT, EVENTS)},
    ),
)
async def read(request: Request, run_id: str, key: str) -> Response:
    """Return a stream's chunks from the one after `last-event-id` on, as they come.

    It ends with the run, or when nothing came for `timeout-seconds`. A key without chunks is a
    stream to which nothing was written yet.
    """
    caller, engine = await authenticate(request), services(request).engine
    require_run(caller, "read", await engine.runs.retrieve(caller.environment.id, run_id))
    _check(key)
    start = _number(request, "last-event-id", -1, _LAST) + 1
    if request.headers.get("x-trigger-stream-start") == "latest":
        start = await engine.streams.next_index(run_id, key)
    patience = _number(request, "timeout-seconds", _DEFAULT_PATIENCE, _LONGEST_PATIENCE)
    pause = min(KEEPALIVE_SECONDS, max(1, patience))
    chunks = engine.streams.read(run_id, key, start=start, patience=pause)
    events = _events(chunks, services(request).stopping, quiet=max(1, round(patience / pause)))
    return StreamingResponse(
        events, media_type="text/event-stream", headers={"x-accel-buffering": "no"}
    )


@router.post(
    "/{run_id}/input/{key}",
    **promise(
        key_or("write:inputStreams:{run_id}"),
        body=SENT,
        answers={200: answer("It is kept until the run receives it", OK)},
    ),
)
async def send(request: Request, run_id: str, key: str) -> Response:
    """Send a message to a run; it is kept until the run receives it."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require("write", inputStreams=[run_id])
    body = await request.body()
    if len(body) > MAX_MESSAGE_BYTES + 64 * 1024:
        raise Problem(413, "too_large", "Request body too large")
    try:
        data = bytes(_sent.decode(body or b"{}").data).decode()
    except msgspec.ValidationError as error:
        raise Problem(400, "invalid_request", str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Problem(400, "invalid_json", "Invalid JSON") from None
    if len(data.encode()) > MAX_MESSAGE_BYTES:
        raise Problem(413, "too_large", "Request body too large")
    _check(key)
    message = request.headers.get(REQUEST_KEY) or str(uuid4())
    await caller.spend(request, engine)
    try:
        await engine.streams.send(caller.environment.id, run_id, key, data, message=message)
    except (Conflict, InvalidRequest) as error:
        raise Problem(400, error.code, str(error)) from None
    return Response(b'{"ok":true}', media_type=_JSON)


@router.get(
    "/{run_id}/input/{key}",
    **promise(
        KEY,
        headers={"last-event-id": TEXT},
        answers={200: answer("Messages as server-sent events", TEXT, EVENTS)},
    ),
)
async def sent(request: Request, run_id: str, key: str) -> Response:
    """Return the messages that a run was sent, received or not, as events; does not wait."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require_secret()
    await engine.runs.retrieve(caller.environment.id, run_id)
    after = max(0, _number(request, "last-event-id", 0, _LAST))
    found = await engine.streams.messages(run_id, key, after=after)
    return Response("".join(map(_event, found)), media_type="text/event-stream")


@router.put(
    "/{run_id}/{target}/{key}",
    **promise(KEY, answers={202: answer("It may be written", {"type": "object"})}),
)
async def announce(request: Request, run_id: str, target: Target, key: str) -> Response:
    """Say that a stream of a run will be written."""
    engine, goal = await _goal(request, run_id, target)
    _check(key)
    await engine.streams.open(goal, key)
    return Response(b'{"version":"v1"}', 202, media_type=_JSON)


@router.post(
    "/{run_id}/{target}/{key}",
    **promise(
        KEY,
        body=TEXT,
        media=LINES,
        headers={"x-client-id": TEXT, "x-resume-from-chunk": TEXT},
        answers={200: answer("They are kept")},
    ),
)
async def write(request: Request, run_id: str, target: Target, key: str) -> Response:
    """Append the lines of the body as they come, one chunk each; each client's count once."""
    engine, goal = await _goal(request, run_id, target)
    _check(key)
    writer = _writer(request, key)
    first = max(0, _number(request, "x-resume-from-chunk", 0, _LAST))
    parts: list[str] = []
    async for line in read_lines(request.stream(), MAX_CHUNK_BYTES):
        if line is None:
            raise Problem(413, "too_large", "a chunk is larger than 512 KB")
        parts.append(_text(line))
        await engine.streams.append(goal, key, parts, writer=writer, first=first)
        first, parts = first + len(parts), []
    return Response(status_code=200)


@router.head(
    "/{run_id}/{target}/{key}",
    **promise(
        KEY,
        headers={"x-client-id": TEXT},
        answers={
            200: answer(
                "What is kept",
                headers={"x-last-chunk-index": "of this client; -1: none"},
            )
        },
    ),
)
async def written(request: Request, run_id: str, target: Target, key: str) -> Response:
    """Return which chunk of this client was the last to arrive; -1: none."""
    engine, goal = await _goal(request, run_id, target)
    last = await engine.streams.last_of(goal, _writer(request, key))
    return Response(headers={"x-last-chunk-index": str(last)})


@router.post(
    "/{run_id}/{target}/{key}/append",
    **promise(
        KEY,
        body=TEXT,
        media="text/plain",
        headers={PART_ID: TEXT},
        answers={200: answer("It is kept, or why it is not", OK)},
    ),
)
async def append(request: Request, run_id: str, target: Target, key: str) -> Response:
    """Append the body as one chunk; the same part id counts once."""
    engine, goal = await _goal(request, run_id, target)
    body = await request.body()
    if len(body) > MAX_CHUNK_BYTES:
        raise Problem(413, "too_large", "a chunk is larger than 512 KB")
    part = request.headers.get(PART_ID) or str(uuid4())
    try:
        await engine.streams.append(goal, key, [_text(body)], writer=f"part:{part[:200]}")
    except InvalidRequest as error:
        return Response(msgspec.json.encode({"ok": False, "error": str(error)}), media_type=_JSON)
    return Response(b'{"ok":true}', media_type=_JSON)


async def _events(
    chunks: AsyncIterator[list[Read]], stopping: asyncio.Event, *, quiet: int
) -> AsyncIterator[str]:
    """Yield a stream as events, with a comment where nothing comes: so often, then it ends."""
    silent = 0
    stops = asyncio.create_task(stopping.wait())
    try:
        yield ": ping\n\n"
        while True:
            more = asyncio.create_task(_next(chunks))
            await asyncio.wait({more, stops}, return_when=asyncio.FIRST_COMPLETED)
            if not more.done():
                more.cancel()
                raise CutShort("the server stops; read on from another one")
            found = more.result()
            if found is None:
                yield f": {END_COMMENT}\n\n"
                return
            silent = 0 if found else silent + 1
            if silent >= quiet:
                return
            yield "".join(map(_event, found)) or ": ping\n\n"
    finally:
        stops.cancel()


async def _next(chunks: AsyncIterator[list[Read]]) -> list[Read] | None:
    return await anext(chunks, None)


def _event(found: Read) -> str:
    data = "".join(f"data: {line}\n" for line in _LINES.split(found.data))
    return f"id: {found.index}\n{data}\n"


async def _goal(request: Request, run_id: str, target: Target) -> tuple[Engine, str]:
    caller, engine = await _secret(request), services(request).engine
    try:
        return engine, await engine.streams.goal(caller.environment.id, run_id, target)
    except Conflict as error:
        raise Problem(400, error.code, str(error)) from None


async def _secret(request: Request) -> Caller:
    caller = await authenticate(request)
    caller.require_secret()
    return caller


def _writer(request: Request, key: str) -> str:
    return f"client:{key}:{request.headers.get('x-client-id', '')[:100]}"


def _check(key: str) -> None:
    try:
        check_key(key)
    except InvalidRequest as error:
        raise Problem(400, error.code, str(error)) from None


def _text(body: bytes) -> str:
    try:
        return body.decode().replace("\0", "")
    except UnicodeDecodeError:
        raise Problem(400, "invalid_text", "a chunk is text in UTF-8") from None


def _number(request: Request, header: str, default: int, most: int) -> int:
    """Return the number of a header; ids of other servers (`<number>-<n>`) begin with theirs."""
    text = request.headers.get(header, "").strip().partition("-")[0] or str(default)
    if request.headers.get(header, "").strip().startswith("-"):
        text = "-1"
    if not text.lstrip("-").isdecimal():
        raise Problem(400, "invalid_header", f"{header} is a whole number")
    return min(most, int(text[:20]))
