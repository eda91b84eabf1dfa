"""Tasks of the current version: what each is, what it does now, and what it did."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response

from outlast.engine.activity import Span
from outlast.engine.catalogue import Queue
from outlast.engine.engine import Engine
from outlast.protocol.activity import RetryBody, Tally, TaskBody, TaskDetail, TaskPage
from outlast.protocol.body import OffsetPagination
from outlast.protocol.manifests import TaskManifest
from outlast.server.auth import authenticate
from outlast.server.contract import READ_ALL, key_or, promise
from outlast.server.problems import Problem, not_found
from outlast.server.services import services

DAY = 86_400.0
PERIODS: dict[str, tuple[Span, float]] = {
    "1d": ("hour", DAY),
    "7d": ("hour", 7 * DAY),
    "30d": ("day", 30 * DAY),
    "90d": ("day", 90 * DAY),
}
"""How far back one can look, and in which steps."""
MAX_PAGE = 100

router = APIRouter(prefix="/api/outlast/v1", tags=["tasks"])

_schemas = msgspec.json.Decoder(dict[str, object])


@router.get("/tasks", response_model=TaskPage, **promise(READ_ALL))
async def list_tasks(
    request: Request,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    per_page: Annotated[int, Query(alias="perPage", ge=1, le=MAX_PAGE)] = 25,
    search: Annotated[str, Query(max_length=512)] = "",
) -> Response:
    """List the tasks of the current version by id, with their last 24 hours."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require_whole("read")
    environment = caller.environment.id
    offer = await engine.catalogue.offer(environment)
    tasks = () if offer is None else offer.tasks.values()
    wanted = sorted(
        (task for task in tasks if search.lower() in task.id.lower()), key=lambda task: task.id
    )
    shown = wanted[(page - 1) * per_page : page * per_page]
    tallies = await engine.activity.of_tasks(environment, "hour", DAY) if shown else []
    running, queues = await _now(engine, environment) if shown else ({}, {})
    body = TaskPage(
        version=None if offer is None else offer.version.name,
        data=tuple(
            TaskBody.model_validate(
                _facts(task, running, queues) | {"hours": _of(task.id, tallies)}
            )
            for task in shown
        ),
        pagination=OffsetPagination(
            current_page=page, total_pages=max(1, -(-len(wanted) // per_page)), count=len(wanted)
        ),
    )
    return Response(body.to_json(), media_type="application/json")


@router.get(
    "/tasks/{task_id:path}",
    response_model=TaskDetail,
    **promise(key_or("read:tasks:{task_id}")),
)
async def retrieve(request: Request, task_id: str, period: str = "1d") -> Response:
    """Return a task of the current version, the schema of its payload, and what it did."""
    caller, engine = await authenticate(request), services(request).engine
    caller.require("read", tasks=[task_id])
    if period not in PERIODS:
        raise Problem(
            422, "invalid_option", f"period is one of {', '.join(PERIODS)}", param="period"
        )
    environment = caller.environment.id
    offer = await engine.catalogue.offer(environment, fresh=True)
    task = None if offer is None else offer.tasks.get(task_id)
    if offer is None or task is None:
        raise not_found(f"task {task_id[:80]} of the current version")
    span, seconds = PERIODS[period]
    points = await engine.activity.of_tasks(environment, span, seconds, task=task_id)
    running, queues = await _now(engine, environment)
    body = TaskDetail.model_validate(
        _facts(task, running, queues)
        | {
            "version": offer.version.name,
            "payload_schema": None
            if task.payload_schema is None
            else _schemas.decode(task.payload_schema),
            "span": span,
            "points": _of(task_id, points),
        }
    )
    return Response(body.to_json(), media_type="application/json")


async def _now(engine: Engine, environment: str) -> tuple[Mapping[str, int], dict[str, Queue]]:
    """Return how many runs of each task execute, and every queue."""
    running = Counter(await engine.runs.executing(environment))
    return running, {queue.name: queue for queue in await engine.catalogue.queues(environment)}


def _facts(
    task: TaskManifest, running: Mapping[str, int], queues: Mapping[str, Queue]
) -> dict[str, object]:
    queue = queues.get(task.queue)
    retry = task.retry
    return {
        "id": task.id,
        "description": task.description,
        "file": task.file,
        "function": task.function,
        "executor": task.executor,
        "queue": task.queue,
        "queue_id": None if queue is None else queue.id,
        "retry": RetryBody(
            max_attempts=retry.max_attempts,
            factor=retry.factor,
            min_timeout=retry.min_timeout,
            max_timeout=retry.max_timeout,
            randomize=retry.randomize,
            out_of_memory=retry.out_of_memory,
        ),
        "max_duration": task.max_duration,
        "ttl": task.ttl,
        "machine": task.machine,
        "cron": None if task.schedule is None else task.schedule.cron,
        "running": running.get(task.id, 0),
        "queued": 0 if queue is None else queue.queued,
    }


def _of(task: str, tallies: Iterable[Tally]) -> tuple[Tally, ...]:
    return tuple(tally for tally in tallies if tally.task == task)
