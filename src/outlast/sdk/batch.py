"""Batches of several tasks: `await batch.trigger(ship.item(order), bill.item(order))`.

A batch of one task is made with the task itself: `ship.batch_trigger(orders)`.
"""

from typing import Any, TypeVar, Unpack, overload

from outlast.client import batches as requests
from outlast.client import clients
from outlast.protocol.bodies import BatchBody
from outlast.sdk import batch_calls
from outlast.sdk.batches import TaskItem
from outlast.sdk.blocking import check_blocking
from outlast.sdk.calls import Call
from outlast.sdk.handles import BatchHandle
from outlast.sdk.options import BatchOptions, BatchWaitOptions
from outlast.sdk.results import Result

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")


def trigger(*items: TaskItem[Any], **options: Unpack[BatchOptions]) -> Call[BatchHandle[Any]]:
    """Create runs of any tasks in one batch: `task.item(payload, **options)` each."""
    return batch_calls.batch_trigger(_target(items), items, options)


def trigger_sync(*items: TaskItem[Any], **options: Unpack[BatchOptions]) -> BatchHandle[Any]:
    """Blocking `trigger`."""
    check_blocking("batch.trigger_sync()", "batch.trigger()")
    return batch_calls.batch_trigger_sync(_target(items), items, options)


@overload
def trigger_and_wait(
    a: TaskItem[A], b: TaskItem[B], /, **options: Unpack[BatchWaitOptions]
) -> Call[tuple[Result[A], Result[B]]]: ...
@overload
def trigger_and_wait(
    a: TaskItem[A], b: TaskItem[B], c: TaskItem[C], /, **options: Unpack[BatchWaitOptions]
) -> Call[tuple[Result[A], Result[B], Result[C]]]: ...
@overload
def trigger_and_wait(
    a: TaskItem[A],
    b: TaskItem[B],
    c: TaskItem[C],
    d: TaskItem[D],
    /,
    **options: Unpack[BatchWaitOptions],
) -> Call[tuple[Result[A], Result[B], Result[C], Result[D]]]: ...
@overload
def trigger_and_wait(
    a: TaskItem[A],
    b: TaskItem[B],
    c: TaskItem[C],
    d: TaskItem[D],
    e: TaskItem[E],
    /,
    **options: Unpack[BatchWaitOptions],
) -> Call[tuple[Result[A], Result[B], Result[C], Result[D], Result[E]]]: ...
@overload
def trigger_and_wait(
    *items: TaskItem[A], **options: Unpack[BatchWaitOptions]
) -> Call[tuple[Result[A], ...]]: ...
def trigger_and_wait(*items: TaskItem[Any], **options: Unpack[BatchWaitOptions]) -> Call[Any]:
    """Create child runs of any tasks and wait until all have ended, inside a task only.

    The results are a tuple in the order of the items, each of its task's type.
    """
    call = batch_calls.batch_trigger_and_wait(_target(items), items, options)

    async def drive() -> tuple[Result[Any], ...]:
        return (await call).results

    return Call(call.__name__, drive)


def trigger_and_wait_sync(
    *items: TaskItem[Any], **options: Unpack[BatchWaitOptions]
) -> tuple[Result[Any], ...]:
    """Blocking `trigger_and_wait`, for `def` tasks. The types of the outputs are not told."""
    check_blocking("batch.trigger_and_wait_sync()", "batch.trigger_and_wait()")
    return batch_calls.batch_trigger_and_wait_sync(_target(items), items, options).results


async def retrieve(batch_id: str) -> BatchBody:
    """Return a batch with the ids of its runs, and why items have none. Raises `NotFoundError`."""
    return await clients.send(requests.retrieve(batch_id))


def retrieve_sync(batch_id: str) -> BatchBody:
    """Blocking `retrieve`."""
    check_blocking("batch.retrieve_sync()", "batch.retrieve()")
    return clients.send_sync(requests.retrieve(batch_id))


def _target(items: tuple[TaskItem[Any], ...]) -> str:
    """Return what the journal calls the batch: its tasks, so that other code does not fit it."""
    return "+".join(dict.fromkeys(item.task.id for item in items))[:_MAX_TARGET_CHARS] or "nothing"


_MAX_TARGET_CHARS = 100
