"""Trigger tasks by their id, and hook into all of them.

`tasks.trigger("export-invoices", payload)`; `@tasks.on_failure` is the hook of every task.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from functools import lru_cache
from typing import Any, Final, Literal, Unpack, overload

from outlast.client.subscriptions import RunUpdate
from outlast.sdk.batches import BatchItem
from outlast.sdk.calls import Call
from outlast.sdk.handles import BatchHandle, RunHandle
from outlast.sdk.hooks import ActingRegistrar, Hookable, Hooks
from outlast.sdk.options import BatchOptions, BatchWaitOptions, TriggerOptions, WaitOptions
from outlast.sdk.outbox import Promised
from outlast.sdk.registry import registry
from outlast.sdk.results import BatchResult, Result
from outlast.sdk.taskref import TaskRef
from outlast.sdk.triggerable import Triggerable


class _Everywhere(Hookable):
    def _own_hooks(self) -> Hooks:
        return registry.hooks


_everywhere: Final = _Everywhere()

middleware: Final = _everywhere.middleware
on_start: Final = _everywhere.on_start
on_start_attempt: Final = _everywhere.on_start_attempt
on_wait: Final = _everywhere.on_wait
on_resume: Final = _everywhere.on_resume
on_success: Final = _everywhere.on_success
catch_error: Final = _everywhere.catch_error
on_failure: Final = _everywhere.on_failure
on_complete: Final = _everywhere.on_complete
on_cancel: Final = _everywhere.on_cancel
on_worker_boot: Final = ActingRegistrar(lambda: registry.hooks, "on_worker_boot")
"""Once in each process that executes tasks, before the first of them."""


@overload
def trigger(
    task_id: str, payload: object = None, /, **options: Unpack[TriggerOptions]
) -> Call[RunHandle[Any]]: ...
@overload
def trigger(
    task_id: str,
    payload: object = None,
    /,
    *,
    connection: object,
    **options: Unpack[TriggerOptions],
) -> Call[Promised]: ...
def trigger(
    task_id: str,
    payload: object = None,
    /,
    *,
    connection: object = None,
    **options: Unpack[TriggerOptions],
) -> Call[RunHandle[Any]] | Call[Promised]:
    """Create a run of a task. Its payload is checked by the server, against the task's types.

    With `connection` it is part of the transaction that is open there.
    """
    if connection is not None:
        return _task(task_id).trigger(payload, connection=connection, **options)
    return _task(task_id).trigger(payload, **options)


@overload
def trigger_sync(
    task_id: str, payload: object = None, /, **options: Unpack[TriggerOptions]
) -> RunHandle[Any]: ...
@overload
def trigger_sync(
    task_id: str,
    payload: object = None,
    /,
    *,
    connection: object,
    **options: Unpack[TriggerOptions],
) -> Promised: ...
@overload
def trigger_sync(
    task_id: str,
    payload: object = None,
    /,
    *,
    on_commit: Literal[True],
    **options: Unpack[TriggerOptions],
) -> None: ...
def trigger_sync(
    task_id: str,
    payload: object = None,
    /,
    *,
    connection: object = None,
    on_commit: bool = False,
    **options: Unpack[TriggerOptions],
) -> RunHandle[Any] | Promised | None:
    """Blocking `trigger`; with `on_commit` once Django's transaction has committed."""
    trigger: Callable[..., RunHandle[Any] | Promised | None] = _task(task_id).trigger_sync
    return trigger(payload, connection=connection, on_commit=on_commit, **options)


def trigger_and_subscribe(
    task_id: str, payload: object = None, /, **options: Unpack[TriggerOptions]
) -> AsyncGenerator[RunUpdate, None]:
    """Create a run and yield it whenever it changes, until it has ended."""
    return _task(task_id).trigger_and_subscribe(payload, **options)


def trigger_and_wait(
    task_id: str, payload: object = None, /, **options: Unpack[WaitOptions]
) -> Call[Result[Any]]:
    """Create a child run and wait for its end, inside a task only."""
    return _task(task_id).trigger_and_wait(payload, **options)


def trigger_and_wait_sync(
    task_id: str, payload: object = None, /, **options: Unpack[WaitOptions]
) -> Result[Any]:
    """Blocking `trigger_and_wait`, for `def` tasks."""
    return _task(task_id).trigger_and_wait_sync(payload, **options)


def batch_trigger(
    task_id: str,
    items: Iterable[object | BatchItem[object]] | AsyncIterable[object | BatchItem[object]],
    /,
    **options: Unpack[BatchOptions],
) -> Call[BatchHandle[Any]]:
    """Create many runs of a task at once; the items may come from an async iterator."""
    return _task(task_id).batch_trigger(items, **options)


def batch_trigger_sync(
    task_id: str, items: Iterable[object | BatchItem[object]], /, **options: Unpack[BatchOptions]
) -> BatchHandle[Any]:
    """Blocking `batch_trigger`."""
    return _task(task_id).batch_trigger_sync(items, **options)


def batch_trigger_and_wait(
    task_id: str,
    items: Iterable[object | BatchItem[object]],
    /,
    **options: Unpack[BatchWaitOptions],
) -> Call[BatchResult[Any]]:
    """Create many child runs and wait until all have ended, inside a task only."""
    return _task(task_id).batch_trigger_and_wait(items, **options)


def batch_trigger_and_wait_sync(
    task_id: str,
    items: Iterable[object | BatchItem[object]],
    /,
    **options: Unpack[BatchWaitOptions],
) -> BatchResult[Any]:
    """Blocking `batch_trigger_and_wait`, for `def` tasks."""
    return _task(task_id).batch_trigger_and_wait_sync(items, **options)


def _task(task_id: str) -> Triggerable[Any, Any]:
    """Return the task itself where it is imported: then its payload is checked here."""
    known = registry.tasks.get(task_id)
    return known if known is not None else _reference(task_id)


@lru_cache(maxsize=1024)
def _reference(task_id: str) -> TaskRef[Any, Any]:
    return TaskRef(task_id)
