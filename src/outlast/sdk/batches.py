"""Items of a batch, and how a batch is made outside a task."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Generic, TypeVar, Unpack

from outlast.client import batches, clients
from outlast.client.requests import Request
from outlast.protocol.bodies import BatchCreated
from outlast.protocol.triggers import Trigger
from outlast.sdk import idempotency
from outlast.sdk.errors import ApiError, BatchTriggerError, TransportError, UsageError
from outlast.sdk.options import TriggerOptions

In_co = TypeVar("In_co", covariant=True)

_TRIES: Final = 3


class BatchItem(Generic[In_co]):
    """One run of a batch with options of its own."""

    __slots__ = ("options", "payload")

    def __init__(self, payload: In_co, **options: Unpack[TriggerOptions]) -> None:
        self.payload: Final = payload
        self.options: Final[Mapping[str, Any]] = dict(options)


def opened(items: Iterable[Any]) -> list[tuple[Any, Mapping[str, Any]]]:
    """Return payload and options of every item. Raises `UsageError` for too many."""
    pairs = [
        (item.payload, item.options) if isinstance(item, BatchItem) else (item, {})
        for item in items
    ]
    if len(pairs) > batches.MAX_ITEMS:
        raise UsageError(
            f"a batch has at most {batches.MAX_ITEMS} items, not {len(pairs)}; make several"
        )
    return pairs


def keyed(
    pairs: list[tuple[Any, Mapping[str, Any]]], key: idempotency.Key | None
) -> list[tuple[Any, Mapping[str, Any]]]:
    """Give the items of a batch with a key keys of their own, so that none is run twice."""
    if key is None:
        return pairs
    return [
        (payload, {"idempotency_key": idempotency.item_key(key, index), **options})
        for index, (payload, options) in enumerate(pairs)
    ]


async def create(items: list[Trigger], key: idempotency.Key | None) -> BatchCreated:
    """Create a batch and hand in its items. Raises `BatchTriggerError`."""
    try:
        made = await clients.send(_first(items, key))
        if made.is_cached:
            return made
        for _ in range(_TRIES):
            if (await clients.send(batches.send_items(made.id, items))).sealed:
                return made
    except (ApiError, TransportError) as error:
        raise _failed(items, error) from error
    raise _unsealed(made, items)


def create_sync(items: list[Trigger], key: idempotency.Key | None) -> BatchCreated:
    """Blocking `create`."""
    try:
        made = clients.send_sync(_first(items, key))
        if made.is_cached:
            return made
        for _ in range(_TRIES):
            if clients.send_sync(batches.send_items(made.id, items)).sealed:
                return made
    except (ApiError, TransportError) as error:
        raise _failed(items, error) from error
    raise _unsealed(made, items)


def _first(items: list[Trigger], key: idempotency.Key | None) -> Request[BatchCreated]:
    hashed = None if key is None else idempotency.resolve(key)
    if hashed is None:
        return batches.create(len(items))
    return batches.create(len(items), key=str(hashed), shown=hashed.shown, scope=hashed.scope)


def _failed(items: list[Trigger], error: Exception) -> BatchTriggerError:
    return BatchTriggerError(f"the batch of {len(items)} runs was not triggered: {error}")


def _unsealed(made: BatchCreated, items: list[Trigger]) -> BatchTriggerError:
    return BatchTriggerError(
        f"batch {made.id} did not take all of its {len(items)} items; trigger it again with an "
        "idempotency key",
        batch_id=made.id,
    )
