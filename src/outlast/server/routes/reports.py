"""What runs report: log lines, spans, metadata and tags; the latter two are changed here too."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response
from msgspec import UNSET
from pydantic import JsonValue, ValidationError

from outlast.engine.reports import Line
from outlast.protocol.bodies import MetadataReply
from outlast.protocol.body import iso
from outlast.protocol.messages import MetadataOperation
from outlast.protocol.metadata import path_of
from outlast.protocol.nesting import MAX_DEPTH, is_too_deep
from outlast.protocol.reports import MetadataChange, MetadataChanges, TagsBody, TagsReply
from outlast.protocol.timeline import LogLineBody, LogsBody
from outlast.server.auth import authenticate
from outlast.server.contract import READ_RUN, WRITE_ALL, answer, promise, structs
from outlast.server.problems import Problem, invalid
from outlast.server.routes.runs import require_run
from outlast.server.services import services
from outlast.server.spans import FlatSpan, Trace, trace_of

MAX_LINES = 1000
_JSON = "application/json"
_LAST = 2**63 - 1
_MOST_SPANS = 10_000

router = APIRouter(tags=["runs"])

_encoder = msgspec.json.Encoder()
_TRACE = {"type": "object", "properties": {"trace": structs(Trace)}, "required": ["trace"]}


@router.get(
    "/api/outlast/v1/runs/{run_id}/logs",
    **promise(READ_RUN, answers={200: answer("The lines", structs(LogsBody))}),
)
async def logs(
    request: Request,
    run_id: str,
    after: Annotated[int, Query(ge=0, le=_LAST)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_LINES)] = MAX_LINES,
) -> Response:
    """Return the lines that a run printed or logged after a certain one.

    A page holds what arrived next, ordered by the time it was said.
    """
    caller, engine = await authenticate(request), services(request).engine
    require_run(caller, "read", await engine.runs.retrieve(caller.environment.id, run_id))
    found = await engine.reports.lines(caller.environment.id, run_id, after=after, limit=limit)
    body = LogsBody(
        tuple(map(_line, sorted(found, key=lambda line: (line.at, line.number)))),
        found[-1].number if len(found) == limit else UNSET,
    )
    return Response(_encoder.encode(body), media_type=_JSON)


@router.get(
    "/api/v1/runs/{run_id}/trace", **promise(READ_RUN, answers={200: answer("The trace", _TRACE)})
)
async def trace(request: Request, run_id: str) -> Response:
    """Return what a run did as a tree of spans: entries of its journal, spans, lines."""
    caller, engine = await authenticate(request), services(request).engine
    environment = caller.environment.id
    run = await engine.runs.retrieve(environment, run_id)
    require_run(caller, "read", run)
    found = trace_of(
        run,
        await engine.runs.journal(environment, run_id),
        await engine.reports.lines(environment, run_id, limit=_MOST_SPANS),
    )
    return Response(_encoder.encode({"trace": found}), media_type=_JSON)


@router.get(
    "/api/v1/runs/{run_id}/spans/{span_id}",
    **promise(READ_RUN, answers={200: answer("The span", structs(FlatSpan))}),
)
async def span(request: Request, run_id: str, span_id: str) -> Response:
    """Return one span of a run, without those inside it."""
    caller, engine = await authenticate(request), services(request).engine
    environment = caller.environment.id
    run = await engine.runs.retrieve(environment, run_id)
    require_run(caller, "read", run)
    found = trace_of(
        run,
        await engine.runs.journal(environment, run_id),
        await engine.reports.lines(environment, run_id, limit=_MOST_SPANS),
    ).find(span_id)
    if found is None:
        raise Problem(404, "not_found", "Span not found")
    return Response(_encoder.encode(found), media_type=_JSON)


@router.put(
    "/api/v1/runs/{run_id}/metadata",
    response_model=MetadataReply,
    **promise(WRITE_ALL, body=MetadataChanges, needs_body=True),
)
async def change_metadata(request: Request, run_id: str) -> Response:
    """Change the metadata of a run, its parent and its root; return the run's own."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require_whole("write")
    text = await request.body()
    if is_too_deep(text):
        raise Problem(400, "too_deep", f"the body is nested deeper than {MAX_DEPTH} levels")
    try:
        changes = MetadataChanges.model_validate_json(text)
    except ValidationError as error:
        raise invalid(error) from None
    value = await engine.reports.revise(caller.environment.id, run_id, _operations(changes))
    body = MetadataReply.model_validate({"metadata": msgspec.json.decode(value)})
    return Response(body.to_json(), media_type=_JSON)


@router.post(
    "/api/v1/runs/{run_id}/tags",
    response_model=TagsReply,
    **promise(WRITE_ALL, body=TagsBody, needs_body=True),
)
async def add_tags(request: Request, run_id: str) -> Response:
    """Add tags to a run; it can have ten."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require_whole("write")
    try:
        tags = TagsBody.model_validate_json(await request.body()).tags
    except ValidationError as error:
        raise invalid(error) from None
    tags = (tags,) if isinstance(tags, str) else tags
    await engine.reports.add_tags(caller.environment.id, run_id, tags)
    message = f"{len(tags)} tag{'' if len(tags) == 1 else 's'} set"
    return Response(TagsReply(message=message).to_json(), media_type=_JSON)


def _line(line: Line) -> LogLineBody:
    return LogLineBody(
        number=line.number,
        at=iso(line.at),
        level=line.level,
        message=line.message,
        kind=line.kind,
        attempt=UNSET if line.attempt is None else line.attempt,
        span=line.span or UNSET,
        parent=line.parent or UNSET,
        attributes=UNSET if line.attributes is None else msgspec.json.decode(line.attributes),
    )


def _operations(changes: MetadataChanges) -> list[MetadataOperation]:
    made: list[MetadataOperation] = []
    if changes.metadata is not None:
        made.append(_operation("self", "update", "", changes.metadata))
    for target, several in (
        ("self", changes.operations),
        ("parent", changes.parent_operations),
        ("root", changes.root_operations),
    ):
        made += (_change(target, change) for change in several)
    return made


def _change(target: str, change: MetadataChange) -> MetadataOperation:
    if change.type in ("set", "append", "remove", "increment", "update") and (
        "value" not in change.model_fields_set
    ):
        raise Problem(400, "invalid_request", f"operations.{change.type}: a value is missing")
    if change.type == "update":
        if not isinstance(change.value, dict):
            raise Problem(400, "invalid_request", "operations.update: the value must be an object")
    elif change.key is None:
        raise Problem(400, "invalid_request", f"operations.{change.type}: a key is missing")
    if change.type == "increment" and (
        isinstance(change.value, bool) or not isinstance(change.value, int | float)
    ):
        raise Problem(400, "invalid_request", "operations.increment: the value must be a number")
    return _operation(target, change.type, change.key or "", change.value)


def _operation(target: str, kind: str, key: str, value: JsonValue) -> MetadataOperation:
    try:
        path = () if kind == "update" else path_of(key)
    except ValueError as error:
        raise Problem(400, "invalid_request", str(error), param="key") from None
    return msgspec.convert(
        {
            "scope": "",
            "ordinal": 0,
            "type": kind,
            "path": path,
            "value": msgspec.json.encode(value).decode(),
            "target": target,
        },
        MetadataOperation,
    )
