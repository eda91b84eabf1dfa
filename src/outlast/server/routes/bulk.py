"""Bulk actions: a cancel or replay over many runs, its progress, and its abort."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Request, Response

from outlast.engine.bulk import BulkAction
from outlast.engine.errors import InvalidRequest
from outlast.engine.filters import RunFilters
from outlast.protocol.bodies import IdReply
from outlast.protocol.body import Pagination
from outlast.protocol.bulk import BulkBody, BulkCounts, BulkCreate, BulkFilter, BulkPage
from outlast.server.auth import authenticate
from outlast.server.contract import READ_ALL, WRITE_ALL, promise
from outlast.server.problems import Problem
from outlast.server.queries import PAGE, read_filters, read_page
from outlast.server.services import services

router = APIRouter(tags=["bulk actions"])

_JSON = "application/json"
_TYPES: dict[str, Literal["CANCEL", "REPLAY"]] = {"cancel": "CANCEL", "replay": "REPLAY"}
_STATUSES: dict[str, Literal["PENDING", "COMPLETED", "ABORTED"]] = {
    "pending": "PENDING",
    "completed": "COMPLETED",
    "aborted": "ABORTED",
}
_NAMES = {
    "from_": "filter[createdAt][from]",
    "to": "filter[createdAt][to]",
    "period": "filter[createdAt][period]",
}


@router.post("/api/v1/bulk-actions", response_model=IdReply, **promise(WRITE_ALL))
async def create(request: Request, wanted: Annotated[BulkCreate, Body()]) -> Response:
    """Begin an action over the runs that a filter finds now, or over run ids."""
    caller = await authenticate(request)
    caller.require_whole("write")
    bulk = await services(request).engine.bulk.create(
        caller.environment.id,
        wanted.action,
        filters=None if wanted.filter is None else _filters(wanted.filter),
        run_ids=wanted.run_ids or (),
        name=wanted.name,
    )
    return Response(IdReply(id=bulk).to_json(), media_type=_JSON)


@router.get("/api/v1/bulk-actions", response_model=BulkPage, **promise(READ_ALL, query=PAGE))
async def list_actions(request: Request) -> Response:
    """Return a page of actions, newest first."""
    caller = await authenticate(request)
    caller.require_whole("read")
    page = read_page(request.query_params)
    found = await services(request).engine.bulk.page(caller.environment.id, page)
    body = BulkPage(
        data=tuple(_body(action) for action in found.actions),
        pagination=Pagination(next=found.next, previous=found.previous),
    )
    return Response(body.to_json(), media_type=_JSON)


@router.get("/api/v1/bulk-actions/{bulk_id}", response_model=BulkBody, **promise(READ_ALL))
async def retrieve(request: Request, bulk_id: str) -> Response:
    """Return an action with its progress."""
    caller = await authenticate(request)
    caller.require_whole("read")
    found = await services(request).engine.bulk.retrieve(caller.environment.id, bulk_id)
    return Response(_body(found).to_json(), media_type=_JSON)


@router.post(
    "/api/v1/bulk-actions/{bulk_id}/abort",
    response_model=IdReply,
    **promise(WRITE_ALL),
)
async def abort(request: Request, bulk_id: str) -> Response:
    """Stop an action; what is under way still happens."""
    caller = await authenticate(request)
    caller.require_whole("write")
    await services(request).engine.bulk.abort(caller.environment.id, bulk_id)
    return Response(IdReply(id=bulk_id).to_json(), media_type=_JSON)


def _filters(wanted: BulkFilter) -> RunFilters:
    """Read the filter as a list reads its query: there is one home for what it means."""
    query: dict[str, str] = {}
    for name, field in BulkFilter.model_fields.items():
        value = getattr(wanted, name)
        if value is None:
            continue
        wire = _NAMES.get(name, f"filter[{field.alias}]")
        query[wire] = _moment(wire, value) if name in {"from_", "to"} else _text(value)
    try:
        return read_filters(query)
    except InvalidRequest as error:
        raise Problem(400, "invalid_filter", str(error), param=error.param) from None


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _moment(name: str, value: str | int) -> str:
    """Return milliseconds since the epoch as text; a date comes as ISO 8601 or as such a number."""
    if isinstance(value, int) or value.isdigit():
        return str(value)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise Problem(400, "invalid_filter", f"{name} must be a date", param=name) from None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return str(int(aware.timestamp() * 1000))


def _body(action: BulkAction) -> BulkBody:
    return BulkBody(
        id=action.id,
        name=action.name,
        type=_TYPES[action.kind],
        status=_STATUSES[action.status],
        counts=BulkCounts(total=action.total, success=action.success, failure=action.failure),
        created_at=action.created_at,
        completed_at=action.completed_at,
    )
