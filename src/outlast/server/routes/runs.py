"""Runs: read, list, cancel, resume, and wait for their end."""

import asyncio
from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from outlast.engine.engine import Engine
from outlast.engine.errors import InvalidRequest
from outlast.engine.runs import Run
from outlast.engine.runs import RunDetail as Detail
from outlast.protocol.bodies import (
    IdReply,
    MetadataReply,
    RelatedRun,
    RelatedRuns,
    RunDetail,
    RunPage,
)
from outlast.protocol.body import Pagination
from outlast.protocol.results import RunResult
from outlast.server import run_bodies
from outlast.server.auth import Caller, authenticate, authenticate_at, is_personal
from outlast.server.contract import (
    READ_RUN,
    TEXT,
    WRITE_ALL,
    WRITE_RUN,
    answer,
    key_or,
    or_person,
    promise,
)
from outlast.server.problems import Problem, not_found
from outlast.server.queries import PAGE, RUN_FILTERS, read_filters, read_page
from outlast.server.services import services

LONGEST_WAIT = 60.0
_DEFAULT_WAIT = 20.0
_JSON = "application/json"
_SLUGS = {"staging": "stg"}

router = APIRouter(tags=["runs"])

READ_RUNS = key_or("read:runs", "read:tasks:{task}")
LIST = {**RUN_FILTERS, **PAGE}


@router.get("/api/v3/runs/{run_id}", response_model=RunDetail, **promise(READ_RUN))
async def retrieve(request: Request, run_id: str) -> Response:
    """Return everything about a run."""
    caller, engine = await authenticate(request), services(request).engine
    found = await engine.runs.detail(caller.environment.id, run_id)
    require_run(caller, "read", found.run)
    return shown(found, legacy=is_legacy(request))


@router.get("/api/v1/runs", response_model=RunPage, **promise(READ_RUNS, query=LIST))
async def list_runs(request: Request) -> Response:
    """Return a page of runs, newest first."""
    return await _page(request, await authenticate(request), request.query_params)


@router.get(
    "/api/v1/projects/{ref}/runs",
    response_model=RunPage,
    **promise(or_person(READ_RUNS), query={**LIST, "filter[env]": TEXT}),
)
async def list_of_project(request: Request, ref: str) -> Response:
    """Return a page of a project's runs: of the key's environment, or the one that is named."""
    query = dict(request.query_params)
    named = query.pop("filter[env]", "").split(",")
    wanted = {_SLUGS.get(name, name) for name in named if name}
    slug = next(iter(wanted)) if len(wanted) == 1 and is_personal(request) else None
    caller = await authenticate_at(request, ref, slug)
    if wanted - {caller.environment.slug}:
        raise Problem(
            422,
            "other_environment",
            f"this key sees the runs of {caller.environment.slug}; use a key of each environment",
            param="filter[env]",
        )
    return await _page(request, caller, query)


async def _page(request: Request, caller: Caller, query: Mapping[str, str]) -> Response:
    engine = services(request).engine
    try:
        filters = read_filters(query)
        if filters.tasks:
            _require_tasks(caller, filters.tasks)
        else:
            caller.require("read", runs=None)
        page = await engine.runs.page(caller.environment.id, filters, read_page(query))
    except InvalidRequest as error:
        raise Problem(400, "invalid_query", str(error), param=error.param) from None
    legacy = is_legacy(request)
    body = RunPage(
        data=tuple(run_bodies.listed(run, caller.environment, legacy=legacy) for run in page.runs),
        pagination=Pagination(next=page.next, previous=page.previous),
    )
    return Response(body.to_json(), media_type=_JSON)


@router.post("/api/v2/runs/{run_id}/cancel", response_model=IdReply, **promise(WRITE_RUN))
async def cancel(request: Request, run_id: str) -> Response:
    """Cancel a run and what it triggered; one that has ended is left alone."""
    caller, engine = await authenticate(request), services(request).engine
    await require_write(caller, engine, run_id)
    await engine.cancel(caller.environment, run_id, reason="canceled through the API")
    return Response(IdReply(id=run_id).to_json(), media_type=_JSON)


@router.post(
    "/api/outlast/v1/runs/{run_id}/resume",
    response_model=IdReply,
    **promise(WRITE_ALL),
)
async def resume(request: Request, run_id: str) -> Response:
    """Let a run that could not replay try again with the version that is current now."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require_whole("write")
    await engine.resume(caller.environment, run_id)
    return Response(IdReply(id=run_id).to_json(), media_type=_JSON)


@router.delete("/api/outlast/v1/runs/{run_id}", response_model=IdReply, **promise(WRITE_ALL))
async def delete(request: Request, run_id: str) -> Response:
    """Delete a run that has ended, with all that is its own; the audit log keeps who did."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require_whole("write")
    await engine.retention.delete(caller.environment.id, run_id)
    await engine.users.note(caller.deed_name, caller.environment.id, "delete run", run_id, "done")
    return Response(IdReply(id=run_id).to_json(), media_type=_JSON)


@router.get("/api/v1/runs/{run_id}/result", response_model=RunResult, **promise(READ_RUN))
async def result(request: Request, run_id: str) -> Response:
    """Return how a run ended; 404 until it has."""
    caller, engine = await authenticate(request), services(request).engine
    run = await engine.runs.retrieve(caller.environment.id, run_id)
    require_run(caller, "read", run)
    if not run.has_ended:
        raise not_found("Run result")
    [contents] = await engine.runs.contents(caller.environment.id, [run_id])
    body = run_bodies.result(run.id, run.task, run.status, contents.output, contents.error)
    return Response(body.to_json(), media_type=_JSON)


@router.get("/api/v1/runs/{run_id}/metadata", response_model=MetadataReply, **promise(READ_RUN))
async def metadata(request: Request, run_id: str) -> Response:
    """Return a run's metadata, as an object."""
    caller, engine = await authenticate(request), services(request).engine
    run = await engine.runs.retrieve(caller.environment.id, run_id)
    require_run(caller, "read", run)
    body = MetadataReply.model_validate({"metadata": run_bodies.metadata(run.metadata)})
    return Response(body.to_json(), media_type=_JSON)


@router.get(
    "/api/outlast/v1/runs/{run_id}/result",
    response_model=RunDetail,
    **promise(READ_RUN, answers={202: answer("It has not ended yet", {"type": "object"})}),
)
async def wait(request: Request, run_id: str, seconds: float = _DEFAULT_WAIT) -> Response:
    """Wait for a run's end: 200 with the run, or 202 when the time passed before it."""
    caller, engine = await authenticate(request), services(request).engine
    if caller.token is not None:
        require_run(caller, "read", await engine.runs.retrieve(caller.environment.id, run_id))
    patience = min(max(0.0, seconds), LONGEST_WAIT)  # in this order a NaN becomes 0
    stopping = services(request).stopping
    if not await _ended(engine, caller, run_id, patience, stopping):
        return Response(b"{}", 202, media_type=_JSON)
    run = await engine.runs.retrieve(caller.environment.id, run_id)
    [contents] = await engine.runs.contents(caller.environment.id, [run_id])
    return Response(run_bodies.detail(run, contents, legacy=False), media_type=_JSON)


def shown(found: Detail, *, legacy: bool) -> Response:
    """Return the response that shows everything about a run."""
    body = run_bodies.detail(
        found.run,
        found.contents,
        legacy=legacy,
        family=_family(found, legacy),
        standing=found.standing,
        failures=found.failures,
    )
    return Response(body, media_type=_JSON)


async def require_write(caller: Caller, engine: Engine, run_id: str) -> None:
    """Let pass who may change a run. Raises `Problem`, `NotFound`."""
    if caller.token is not None:
        require_run(caller, "write", await engine.runs.retrieve(caller.environment.id, run_id))


def _family(found: Detail, legacy: bool) -> RelatedRuns:
    def shown(run: Run | None) -> RelatedRun | None:
        return None if run is None else run_bodies.related(run, legacy=legacy)

    children = tuple(run_bodies.related(child, legacy=legacy) for child in found.children)
    return RelatedRuns(
        root=shown(found.root), parent=shown(found.parent), children=children or None
    )


async def _ended(
    engine: Engine, caller: Caller, run_id: str, seconds: float, stopping: asyncio.Event
) -> bool:
    """Wait for a run's end, but not longer than the server stays."""
    ending = asyncio.create_task(engine.ends.wait(caller.environment.id, run_id, seconds))
    leaving = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({ending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return ending.done() and await ending
    finally:
        ending.cancel()
        leaving.cancel()


def is_legacy(request: Request) -> bool:
    """Return whether the caller knows the statuses by their older names."""
    return "x-trigger-api-version" not in request.headers


def require_run(caller: Caller, action: str, run: Run) -> None:
    """Let pass who may do this to a run: by its id, its task, a tag or its batch."""
    resources: dict[str, tuple[str, ...]] = {"runs": (run.id,), "tasks": (run.task,)}
    if action == "read":
        if run.tags:
            resources["tags"] = run.tags
        if run.batch_id is not None:
            resources["batch"] = (run.batch_id,)
    caller.require(action, **resources)


def _require_tasks(caller: Caller, tasks: tuple[str, ...]) -> None:
    """Let pass who may read all runs, or the runs of every task asked for."""
    for task in tasks:
        caller.require("read", runs=None, tasks=(task,))
