"""Items of a batch, and how a batch is made outside a task."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, Unpack

from outlast.client import batches, clients
from outlast.client.requests import Request, told_wait
from outlast.protocol.bodies import BatchCreated, BatchItemsReply
from outlast.protocol.triggers import Trigger
from outlast.sdk import idempotency
from outlast.sdk.errors import ApiError, BatchTriggerError, RateLimitError, TransportError
from outlast.sdk.options import TriggerOptions

if TYPE_CHECKING:
    from outlast.sdk.children import Target

In_co = TypeVar("In_co", covariant=True)
Out_co = TypeVar("Out_co", covariant=True)

_TRIES: Final = 3


class BatchItem(Generic[In_co]):
    """One run of a batch with options of its own."""

    __slots__ = ("options", "payload")

    def __init__(self, payload: In_co, **options: Unpack[TriggerOptions]) -> None:
        self.payload: Final = payload
        self.options: Final[Mapping[str, Any]] = dict(options)


class TaskItem(Generic[Out_co]):
    """One run of a batch with its task: what `task.item(payload, **options)` makes."""

    __slots__ = ("options", "payload", "task")

    def __init__(self, task: "Target", payload: object, options: Mapping[str, Any]) -> None:
        self.task: Final = task
        self.payload: Final = payload
        self.options: Final = options

    @classmethod
    def of(cls, task: "Target", item: object) -> "TaskItem[Any]":
        """Return an item of a task's own batch: a payload, or a `BatchItem`."""
        if isinstance(item, BatchItem):
            return TaskItem(task, item.payload, item.options)
        return TaskItem(task, item, {})


def keyed(options: Mapping[str, Any], key: idempotency.Key | None, index: int) -> Mapping[str, Any]:
    """Give an item of a batch with a key a key of its own, so that it is not run twice."""
    if key is None:
        return options
    return {"idempotency_key": idempotency.item_key(key, index), **options}


def refused_text(batch_id: str | None, told: Sequence[tuple[int, str, str]], count: int) -> str:
    """Return what is said about a batch whose other items have become runs."""
    index, _, message = told[0]
    return (
        f"{len(told)} of the {count} runs of batch {batch_id} were refused, the others go on; "
        f"item {index}: {message}"
    )


async def create(items: list[Trigger], key: idempotency.Key | None) -> BatchCreated:
    """Create a batch and hand in its items. Raises `BatchTriggerError`, also for some of them."""
    made: BatchCreated | None = None
    try:
        made = _told(await clients.send(_first(items, key)))
        if made.is_cached:
            return made
        for _ in range(_TRIES):
            taken = await clients.send(batches.send_items(made.id, items))
            if taken.sealed:
                return _whole(made, taken)
    except (ApiError, TransportError) as error:
        raise _failed(items, made, error) from error
    raise _unsealed(made, items)


def create_sync(items: list[Trigger], key: idempotency.Key | None) -> BatchCreated:
    """Blocking `create`."""
    made: BatchCreated | None = None
    try:
        made = _told(clients.send_sync(_first(items, key)))
        if made.is_cached:
            return made
        for _ in range(_TRIES):
            taken = clients.send_sync(batches.send_items(made.id, items))
            if taken.sealed:
                return _whole(made, taken)
    except (ApiError, TransportError) as error:
        raise _failed(items, made, error) from error
    raise _unsealed(made, items)


def _first(items: list[Trigger], key: idempotency.Key | None) -> Request[batches.CreateReply]:
    hashed = None if key is None else idempotency.resolve(key)
    if hashed is None:
        return batches.create(len(items))
    return batches.create(len(items), key=str(hashed), shown=hashed.shown, scope=hashed.scope)


def _told(reply: batches.CreateReply) -> BatchCreated:
    clients.learn(reply.claims)
    return reply.batch


def _whole(made: BatchCreated, reply: BatchItemsReply) -> BatchCreated:
    if not reply.errors:
        return made
    told = tuple((one.index, one.error_code or "refused", one.error) for one in reply.errors)
    raise BatchTriggerError(
        refused_text(made.id, told, made.run_count),
        phase="stream",
        item_count=made.run_count,
        batch_id=made.id,
        refusals=told,
    )


def _failed(
    items: list[Trigger], made: BatchCreated | None, error: ApiError | TransportError
) -> BatchTriggerError:
    wait = told_wait(error.headers, time.time()) if isinstance(error, RateLimitError) else None
    return BatchTriggerError(
        f"the batch of {len(items)} runs was not triggered: {error}",
        phase="create" if made is None else "stream",
        item_count=len(items),
        batch_id=None if made is None else made.id,
        is_rate_limited=isinstance(error, RateLimitError),
        retry_after=wait,
    )


def _unsealed(made: BatchCreated, items: list[Trigger]) -> BatchTriggerError:
    return BatchTriggerError(
        f"batch {made.id} did not take all of its {len(items)} items; trigger it again with an "
        "idempotency key",
        phase="stream",
        item_count=len(items),
        batch_id=made.id,
    )
