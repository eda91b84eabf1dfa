"""Queues: list, read, pause, limit and measure them; the environment's pause; idempotency keys."""

from typing import Annotated, Literal
from urllib.parse import unquote

from fastapi import APIRouter, Body, Query, Request, Response

from outlast.engine.engine import Engine
from outlast.engine.queues import Queue, QueueType, Stand
from outlast.engine.statistics import percentile
from outlast.protocol.bodies import IdReply
from outlast.protocol.body import Body as WireBody
from outlast.protocol.body import OffsetPagination
from outlast.protocol.durations import parse_duration
from outlast.protocol.queues import (
    EnvironmentChange,
    EnvironmentStand,
    KeyReset,
    QueueBody,
    QueueChange,
    QueueConcurrency,
    QueueKey,
    QueueKeys,
    QueueMetrics,
    QueueOverride,
    QueuePage,
    QueuePause,
    QueuePoint,
    QueueRate,
)
from outlast.server.auth import Caller, authenticate
from outlast.server.contract import READ_ALL, WRITE_ALL, key_or, promise
from outlast.server.intake import hashed
from outlast.server.problems import Problem
from outlast.server.services import services

MAX_PAGE = 100
MAX_KEYS = 500
MAX_PERIOD = 7 * 86_400.0
TASK_QUEUE = "task/"

_KEPT = {
    "runs": "retention_days",
    "logs": "log_retention_days",
    "streams": "stream_retention_days",
}

router = APIRouter(tags=["queues"])

Page = Annotated[int, Query(ge=1, le=1_000_000)]
PerPage = Annotated[int, Query(alias="perPage", ge=1, le=MAX_PAGE)]


@router.get("/api/v1/queues", response_model=QueuePage, **promise(READ_ALL))
async def list_queues(request: Request, page: Page = 1, per_page: PerPage = 25) -> Response:
    """List the queues by name."""
    caller = await _whole(request)
    rows, count = await services(request).engine.queues.page(
        caller.environment.id, limit=per_page, offset=(page - 1) * per_page
    )
    return _json(
        QueuePage(
            data=tuple(map(_body, rows)),
            pagination=OffsetPagination(
                current_page=page, total_pages=max(1, -(-count // per_page)), count=count
            ),
        )
    )


@router.post(
    "/api/v1/queues/{queue:path}/pause",
    response_model=QueueBody,
    **promise(WRITE_ALL),
)
async def pause(request: Request, queue: str, wanted: Annotated[QueuePause, Body()]) -> Response:
    """Let no run of a queue start, or let them again. What runs is not touched."""
    caller = await _whole(request)
    engine = services(request).engine
    found = await _find(engine, caller, queue, wanted.type)
    paused = wanted.action == "pause"
    return _json(_body(await engine.queues.pause(caller.environment.id, found, paused=paused)))


@router.post(
    "/api/v1/queues/{queue:path}/concurrency/override",
    response_model=QueueBody,
    **promise(WRITE_ALL),
)
async def override(
    request: Request, queue: str, wanted: Annotated[QueueOverride, Body()]
) -> Response:
    """Set the limit of a queue, whatever deployments declare, until it is reset."""
    caller = await _whole(request)
    engine = services(request).engine
    found = await _find(engine, caller, queue, wanted.type)
    return _json(
        _body(
            await engine.queues.override(
                caller.environment.id, found, wanted.concurrency_limit, by=caller.key_id
            )
        )
    )


@router.post(
    "/api/v1/queues/{queue:path}/concurrency/reset",
    response_model=QueueBody,
    **promise(WRITE_ALL),
)
async def reset(request: Request, queue: str, wanted: Annotated[QueueChange, Body()]) -> Response:
    """Let the declared limit count again."""
    caller = await _whole(request)
    engine = services(request).engine
    found = await _find(engine, caller, queue, wanted.type)
    return _json(_body(await engine.queues.reset(caller.environment.id, found)))


@router.get(
    "/api/v1/queues/{queue:path}",
    response_model=QueueBody,
    **promise(key_or("read:queues:{queue}")),
)
async def retrieve(
    request: Request,
    queue: str,
    queue_type: Annotated[QueueType, Query(alias="type")] = "id",
) -> Response:
    """Return one queue, by its id, its task or its name."""
    caller = await authenticate(request)
    caller.require("read", queues=[unquote(queue)])
    return _json(_body(await _find(services(request).engine, caller, queue, queue_type)))


@router.get(
    "/api/outlast/v1/queues/{queue:path}/metrics",
    response_model=QueueMetrics,
    **promise(READ_ALL),
)
async def metrics(
    request: Request,
    queue: str,
    queue_type: Annotated[QueueType, Query(alias="type")] = "id",
    period: str = "1h",
) -> Response:
    """Return how a queue is doing, and did in the minutes of the period (at most 7d)."""
    caller = await _whole(request)
    seconds = parse_duration(period)
    if seconds is None or not 0 < seconds <= MAX_PERIOD:
        raise Problem(422, "invalid_option", "period is a duration up to 7d", param="period")
    engine = services(request).engine
    found = await _find(engine, caller, queue, queue_type)
    minutes = await engine.statistics.minutes(caller.environment.id, found.name, seconds)
    return _json(
        QueueMetrics(
            running=found.running,
            queued=found.queued,
            oldest_wait=await engine.queues.oldest_wait(caller.environment.id, found),
            started=sum(minute.started for minute in minutes),
            delayP50=percentile(minutes, 0.5),
            delayP95=percentile(minutes, 0.95),
            points=tuple(
                QueuePoint(
                    at=minute.minute,
                    queued=minute.queued,
                    running=minute.running,
                    started=minute.started,
                    delayP95=percentile([minute], 0.95),
                )
                for minute in minutes
            ),
        )
    )


@router.get(
    "/api/outlast/v1/queues/{queue:path}/keys", response_model=QueueKeys, **promise(READ_ALL)
)
async def keys(
    request: Request,
    queue: str,
    queue_type: Annotated[QueueType, Query(alias="type")] = "id",
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_KEYS)] = 100,
) -> Response:
    """List the concurrency keys of a queue that have runs, by key."""
    caller = await _whole(request)
    engine = services(request).engine
    found = await _find(engine, caller, queue, queue_type)
    rows = await engine.queues.keys(caller.environment.id, found, limit=limit, after=after)
    return _json(
        QueueKeys(
            data=tuple(
                QueueKey(
                    key=row.key,
                    fairness_group=row.fairness_group,
                    queued=row.queued,
                    running=row.running,
                    oldest_wait=row.oldest_wait,
                )
                for row in rows
            ),
            next=rows[-1].key if len(rows) == limit else None,
        )
    )


@router.get(
    "/api/outlast/v1/environment/limits", response_model=EnvironmentStand, **promise(READ_ALL)
)
async def stand(request: Request) -> Response:
    """Return the limits of the key's environment and what counts towards them."""
    caller = await _whole(request)
    return _json(_stand(await services(request).engine.queues.stand(caller.environment.id)))


@router.post(
    "/api/outlast/v1/environment/limits",
    response_model=EnvironmentStand,
    **promise(WRITE_ALL),
)
async def change_environment(
    request: Request, wanted: Annotated[EnvironmentChange, Body()]
) -> Response:
    """Change limits and retention of the key's environment, pause it or let it go on."""
    caller = await _whole(request)
    engine = services(request).engine
    days = {
        name: getattr(wanted, field)
        for name, field in _KEPT.items()
        if field in wanted.model_fields_set
    }
    if days:  # null says something
        await engine.retention.keep(caller.environment.id, **days)
    changed = await engine.queues.change_environment(
        caller.environment.id,
        paused=wanted.paused,
        concurrency_limit=wanted.concurrency_limit,
        burst_factor=wanted.burst_factor,
    )
    return _json(_stand(changed))


@router.post(
    "/api/outlast/v1/environment/{action}", response_model=EnvironmentStand, **promise(WRITE_ALL)
)
async def pause_environment(request: Request, action: Literal["pause", "resume"]) -> Response:
    """Let no run of the key's environment start, or let them again."""
    caller = await _whole(request)
    changed = await services(request).engine.queues.change_environment(
        caller.environment.id, paused=action == "pause"
    )
    return _json(_stand(changed))


@router.post(
    "/api/v1/idempotencyKeys/{key:path}/reset",
    response_model=IdReply,
    **promise(key_or("write:runs")),
)
async def reset_key(request: Request, key: str, wanted: Annotated[KeyReset, Body()]) -> Response:
    """Forget an idempotency key of a task: the next trigger with it makes a run."""
    caller = await authenticate(request)
    caller.require("write", runs=None)
    stored = hashed(key) or key
    engine = services(request).engine
    await engine.queues.reset_key(caller.environment.id, wanted.task_identifier, stored)
    return _json(IdReply(id=key))


@router.post(
    "/api/outlast/v1/runs/{run_id}/idempotency-key/reset",
    response_model=IdReply,
    **promise(key_or("write:runs")),
)
async def reset_key_of_run(request: Request, run_id: str) -> Response:
    """Forget the idempotency key that a run holds: the next trigger with it makes a run."""
    caller = await authenticate(request)
    caller.require("write", runs=None)
    await services(request).engine.queues.reset_key_of_run(caller.environment.id, run_id)
    return _json(IdReply(id=run_id))


async def _whole(request: Request) -> Caller:
    caller = await authenticate(request)
    caller.require_whole("read" if request.method == "GET" else "write")
    return caller


async def _find(engine: Engine, caller: Caller, queue: str, queue_type: QueueType) -> Queue:
    # The official client encodes a name twice; the framework has decoded it once.
    return await engine.queues.retrieve(caller.environment.id, unquote(queue), queue_type)


def _body(queue: Queue) -> QueueBody:
    is_task = queue.name.startswith(TASK_QUEUE)
    return QueueBody(
        id=queue.id,
        name=queue.name.removeprefix(TASK_QUEUE),
        type="task" if is_task else "custom",
        running=queue.running,
        queued=queue.queued,
        paused=queue.paused,
        concurrency_limit=queue.concurrency_limit,
        concurrency=QueueConcurrency(
            current=queue.concurrency_limit,
            base=queue.declared_limit,
            override=queue.override_limit,
            overridden_at=queue.overridden_at,
            overridden_by=queue.overridden_by,
        ),
        total_limit=queue.total_limit,
        max_queued=queue.max_queued,
        rate=None
        if queue.rate_interval is None
        else QueueRate(
            interval=queue.rate_interval,
            burst=queue.rate_burst,
            per="key" if queue.rate_per_key else "queue",
        ),
    )


def _stand(stand: Stand) -> EnvironmentStand:
    return EnvironmentStand(
        id=stand.id,
        paused=stand.paused,
        concurrency_limit=stand.concurrency_limit,
        burst_factor=stand.burst_factor,
        running=stand.running,
        queued=stand.queued,
        retention_days=stand.retention_days,
        log_retention_days=stand.log_days,
        stream_retention_days=stand.stream_days,
    )


def _json(body: WireBody) -> Response:
    return Response(body.to_json(), media_type="application/json")
