"""Queues of this environment: list, read, pause and limit them.

A queue is named by its `Queue`, by its name, by `task/<id>` for a task's own, or by its id.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Final

from outlast.client import clients
from outlast.client import queues as requests
from outlast.protocol.queues import QueueBody
from outlast.sdk.blocking import check_blocking
from outlast.sdk.errors import UsageError
from outlast.sdk.queue import Queue

PAGE: Final = 100


async def list() -> AsyncIterator[QueueBody]:  # noqa: A001 - the word of the official client
    """Yield all queues, by name."""
    number = 1
    while True:
        page = await clients.send(requests.list_page(number, size=PAGE))
        for queue in page.data:
            yield queue
        if number >= page.pagination.total_pages:
            return
        number += 1


def list_sync() -> Iterator[QueueBody]:
    """Blocking `list`."""
    number = 1
    while True:
        check_blocking("queues.list_sync()", "queues.list()")
        page = clients.send_sync(requests.list_page(number, size=PAGE))
        yield from page.data
        if number >= page.pagination.total_pages:
            return
        number += 1


async def retrieve(queue: Queue | str) -> QueueBody:
    """Return a queue as it stands. Raises `NotFoundError`."""
    return await clients.send(requests.retrieve(_name(queue)))


def retrieve_sync(queue: Queue | str) -> QueueBody:
    """Blocking `retrieve`."""
    check_blocking("queues.retrieve_sync()", "queues.retrieve()")
    return clients.send_sync(requests.retrieve(_name(queue)))


async def pause(queue: Queue | str) -> QueueBody:
    """Let no run of the queue start. What runs is not touched."""
    return await clients.send(requests.pause(_name(queue), paused=True))


def pause_sync(queue: Queue | str) -> QueueBody:
    """Blocking `pause`."""
    check_blocking("queues.pause_sync()", "queues.pause()")
    return clients.send_sync(requests.pause(_name(queue), paused=True))


async def resume(queue: Queue | str) -> QueueBody:
    """Let the runs of a paused queue start again."""
    return await clients.send(requests.pause(_name(queue), paused=False))


def resume_sync(queue: Queue | str) -> QueueBody:
    """Blocking `resume`."""
    check_blocking("queues.resume_sync()", "queues.resume()")
    return clients.send_sync(requests.pause(_name(queue), paused=False))


async def override_concurrency_limit(queue: Queue | str, limit: int) -> QueueBody:
    """Set the limit per concurrency key, whatever deployments declare, until it is reset.

    At most the environment's limit counts.
    """
    return await clients.send(requests.override(_name(queue), limit))


def override_concurrency_limit_sync(queue: Queue | str, limit: int) -> QueueBody:
    """Blocking `override_concurrency_limit`."""
    check_blocking(
        "queues.override_concurrency_limit_sync()", "queues.override_concurrency_limit()"
    )
    return clients.send_sync(requests.override(_name(queue), limit))


async def reset_concurrency_limit(queue: Queue | str) -> QueueBody:
    """Let the declared limit count again. Raises `UnprocessableError` without an override."""
    return await clients.send(requests.reset(_name(queue)))


def reset_concurrency_limit_sync(queue: Queue | str) -> QueueBody:
    """Blocking `reset_concurrency_limit`."""
    check_blocking("queues.reset_concurrency_limit_sync()", "queues.reset_concurrency_limit()")
    return clients.send_sync(requests.reset(_name(queue)))


def _name(queue: Queue | str) -> str:
    name = queue.name if isinstance(queue, Queue) else queue
    if not isinstance(name, str) or not name:
        raise UsageError("name the queue: a Queue with a name, 'export', 'task/<id>' or its id")
    return name
