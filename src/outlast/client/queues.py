"""Queues: list, read, pause and limit them; idempotency keys."""

import re
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from outlast.client.requests import Request, model
from outlast.protocol.bodies import IdReply
from outlast.protocol.queues import (
    EnvironmentStand,
    QueueBody,
    QueueKeys,
    QueueMetrics,
    QueuePage,
    QueueType,
)

_ID = re.compile(r"queue_[0-9a-f]{25}")
_TASK = "task/"
_LIMITS = "/api/outlast/v1/environment/limits"


def list_page(page: int, *, size: int) -> Request[QueuePage]:
    """Return the request for a page of queues, by name; pages count from 1."""
    query = (("page", str(page)), ("perPage", str(size)))
    return Request("GET", "/api/v1/queues", model(QueuePage), query=query)


def retrieve(queue: str) -> Request[QueueBody]:
    """Return the request for one queue: `export`, `task/<id>`, or its id."""
    kind, part = _part(queue)
    return Request("GET", f"/api/v1/queues/{part}", model(QueueBody), query=(("type", kind),))


def pause(queue: str, *, paused: bool) -> Request[QueueBody]:
    """Return the request that pauses a queue or lets it go on."""
    return _change(queue, "pause", action="pause" if paused else "resume")


def override(queue: str, limit: int) -> Request[QueueBody]:
    """Return the request that sets a queue's limit until it is reset."""
    return _change(queue, "concurrency/override", concurrencyLimit=limit)


def reset(queue: str) -> Request[QueueBody]:
    """Return the request that lets a queue's declared limit count again."""
    return _change(queue, "concurrency/reset")


def metrics(queue: str, *, period: str = "1h") -> Request[QueueMetrics]:
    """Return the request for a queue's statistics over the last while."""
    kind, part = _part(queue)
    return Request(
        "GET",
        f"/api/outlast/v1/queues/{part}/metrics",
        model(QueueMetrics),
        query=(("type", kind), ("period", period)),
    )


def keys(queue: str, *, after: str | None = None, size: int = 100) -> Request[QueueKeys]:
    """Return the request for a page of a queue's concurrency keys."""
    kind, part = _part(queue)
    query = [("type", kind), ("limit", str(size))]
    if after is not None:
        query.append(("after", after))
    return Request(
        "GET", f"/api/outlast/v1/queues/{part}/keys", model(QueueKeys), query=tuple(query)
    )


def pause_environment(*, paused: bool) -> Request[EnvironmentStand]:
    """Return the request that pauses the key's environment or lets it go on."""
    action = "pause" if paused else "resume"
    return Request("POST", f"/api/outlast/v1/environment/{action}", model(EnvironmentStand))


def stand_of_environment() -> Request[EnvironmentStand]:
    """Return the request for the environment's limits and what counts towards them."""
    return Request("GET", _LIMITS, model(EnvironmentStand))


def change_environment(limits: Mapping[str, int | None]) -> Request[EnvironmentStand]:
    """Return the request that sets limits and days of retention, by their names on the wire."""
    return Request("POST", _LIMITS, model(EnvironmentStand), body=msgspec.json.encode(limits))


def reset_key(task: str, key: str) -> Request[IdReply]:
    """Return the request that forgets a task's idempotency key, given as its hash."""
    return Request(
        "POST",
        f"/api/v1/idempotencyKeys/{quote(key, safe='')}/reset",
        model(IdReply),
        body=msgspec.json.encode({"taskIdentifier": task}),
    )


def reset_key_of_run(run_id: str) -> Request[IdReply]:
    """Return the request that forgets the idempotency key that a run holds."""
    path = f"/api/outlast/v1/runs/{quote(run_id, safe='')}/idempotency-key/reset"
    return Request("POST", path, model(IdReply))


def _change(queue: str, change: str, **said: str | int) -> Request[QueueBody]:
    kind, part = _part(queue)
    return Request(
        "POST",
        f"/api/v1/queues/{part}/{change}",
        model(QueueBody),
        body=msgspec.json.encode({"type": kind, **said}),
    )


def _part(queue: str) -> tuple[QueueType, str]:
    """Return type and path part of a queue. Names are encoded twice, like the official client."""
    if _ID.fullmatch(queue):
        return "id", queue
    kind: QueueType = "task" if queue.startswith(_TASK) else "custom"
    name = queue.removeprefix(_TASK).replace("/", "%2F")
    return kind, quote(name, safe="")
