"""Trigger calls: through the run's journal inside a task, through HTTP outside."""

import hashlib
from collections.abc import Iterable, Mapping
from secrets import token_hex
from typing import Any, Protocol

from outlast.client import clients
from outlast.protocol import messages
from outlast.protocol.outcomes import Outcome
from outlast.protocol.triggers import Refusal, Trigger, Triggered
from outlast.sdk import batches, runtime
from outlast.sdk.calls import Call
from outlast.sdk.durations import seconds
from outlast.sdk.errors import BatchTriggerError, run_error
from outlast.sdk.handles import BatchHandle, RunHandle
from outlast.sdk.inside import preview, required
from outlast.sdk.options import (
    BatchOptions,
    BatchWaitOptions,
    TriggerOptions,
    WaitOptions,
    build,
    unknown,
)
from outlast.sdk.results import BatchResult, Readable, Result, result_of
from outlast.sdk.runtime import Runtime

Options = Mapping[str, Any]


class Target(Readable, Protocol):
    """What these calls need to know about a task."""

    def encode_payload(self, payload: object) -> str | None:
        """Return a payload as JSON text."""


def trigger(task: Target, payload: object, options: Options) -> Call[RunHandle[Any]]:
    """Return the call that creates a run."""
    item = _item(task, payload, options)
    run = runtime.current()
    if run is None:
        return Call(f"{task.id}.trigger", lambda: _send(task, item))
    call = _call(run, "trigger", task.id, [item])
    return Call(f"{task.id}.trigger", lambda: _trigger_inside(task, run, call))


def trigger_sync(task: Target, payload: object, options: Options) -> RunHandle[Any]:
    """Create a run, blocking."""
    item = _item(task, payload, options)
    run = runtime.current()
    if run is None:
        return _handle(task, clients.send_trigger_sync(item))
    [made] = run.trigger_sync(_call(run, "trigger", task.id, [item]))
    return _handle(task, made)


def trigger_and_wait(task: Target, payload: object, options: Options) -> Call[Result[Any]]:
    """Return the call that creates a child and waits for it."""
    name = f"{task.id}.trigger_and_wait"
    run = required(f"{name}()", _ADVICE)
    call = _child(task, run, payload, options)

    async def drive() -> Result[Any]:
        return result_of(await run.resolve(call), task)

    return Call(name, drive)


def trigger_and_wait_sync(task: Target, payload: object, options: Options) -> Result[Any]:
    """Create a child and block until it ends."""
    run = required(f"{task.id}.trigger_and_wait_sync()", _ADVICE_SYNC)
    call = _child(task, run, payload, options)
    return result_of(run.resolve_sync(call), task)


def batch_trigger(task: Target, items: Iterable[Any], options: Options) -> Call[BatchHandle[Any]]:
    """Return the call that creates many runs."""
    name = f"{task.id}.batch_trigger"
    triggers = _items(task, items, options, BatchOptions)
    run = runtime.current()
    if run is None or not triggers:
        key = options.get("idempotency_key")
        return Call(name, lambda: _send_batch(triggers, key))
    call = _call(run, "trigger", task.id, triggers)

    async def drive() -> BatchHandle[Any]:
        return _batch_handle(task, await run.trigger(call))

    return Call(name, drive)


def batch_trigger_sync(task: Target, items: Iterable[Any], options: Options) -> BatchHandle[Any]:
    """Create many runs, blocking."""
    triggers = _items(task, items, options, BatchOptions)
    if not triggers:
        return BatchHandle(None, size=0)
    run = runtime.current()
    if run is None:
        made = batches.create_sync(triggers, options.get("idempotency_key"))
        return BatchHandle(made.id, size=len(triggers), is_cached=made.is_cached)
    return _batch_handle(task, run.trigger_sync(_call(run, "trigger", task.id, triggers)))


def batch_trigger_and_wait(
    task: Target, items: Iterable[Any], options: Options
) -> Call[BatchResult[Any]]:
    """Return the call that creates many children and waits for all."""
    name = f"{task.id}.batch_trigger_and_wait"
    run = required(f"{name}()", _BATCH_ADVICE)
    triggers = _items(task, items, options, BatchWaitOptions)
    if not triggers:
        return Call(name, _nothing)
    call = _call(run, "batch", task.id, triggers, options.get("timeout"))

    async def drive() -> BatchResult[Any]:
        return _batch_result(task, await run.resolve(call))

    return Call(name, drive)


def batch_trigger_and_wait_sync(
    task: Target, items: Iterable[Any], options: Options
) -> BatchResult[Any]:
    """Create many children and block until all have ended."""
    run = required(f"{task.id}.batch_trigger_and_wait_sync()", _BATCH_ADVICE)
    triggers = _items(task, items, options, BatchWaitOptions)
    if not triggers:
        return BatchResult(())
    call = _call(run, "batch", task.id, triggers, options.get("timeout"))
    return _batch_result(task, run.resolve_sync(call))


_ADVICE = "elsewhere use `handle = await task.trigger(...)` and `await handle.result()`"
_ADVICE_SYNC = "elsewhere use `handle = task.trigger_sync(...)` and `handle.result_sync()`"
_BATCH_ADVICE = "elsewhere use .batch_trigger()"


def _item(
    task: Target, payload: object, options: Options, allowed: type = TriggerOptions
) -> Trigger:
    # Inside a run the journal makes a call safe to repeat; outside it is this key.
    key = token_hex(16) if runtime.current() is None else None
    text = task.encode_payload(payload)
    return build(task.id, text, options, request_key=key, allowed=allowed)


def _items(task: Target, items: Iterable[Any], options: Options, allowed: type) -> list[Trigger]:
    known = allowed.__annotations__
    for name in options:
        if name not in known:
            raise unknown(name, known, f"batch of {task.id}")
    pairs = batches.keyed(batches.opened(items), options.get("idempotency_key"))
    return [_item(task, payload, own) for payload, own in pairs]


def _child(task: Target, run: Runtime, payload: object, options: Options) -> messages.Call:
    item = _item(task, payload, options, WaitOptions)
    return _call(run, "child", task.id, [item], options.get("timeout"))


def _call(
    run: Runtime,
    kind: messages.CallKind,
    task: str,
    items: list[Trigger],
    timeout: Any = None,
) -> messages.Call:
    limit = None if timeout is None else seconds(timeout, "timeout")
    key = items[0].idempotency_key if len(items) == 1 else None
    name = task if key is None else f"{task}[{key[:16]}]"
    return messages.Call(
        key=run.reserve(kind, name),
        kind=kind,
        name=name,
        items=tuple(items),
        timeout=limit,
        arguments=_digest(items),
        preview=preview(items[0].payload),
    )


def _digest(items: list[Trigger]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for item in items:
        digest.update((item.payload or "").encode())
        digest.update(b"\0")
    return digest.hexdigest()


async def _send(task: Target, item: Trigger) -> RunHandle[Any]:
    return _handle(task, await clients.send_trigger(item))


async def _send_batch(items: list[Trigger], key: Any) -> BatchHandle[Any]:
    if not items:
        return BatchHandle(None, size=0)
    made = await batches.create(items, key)
    return BatchHandle(made.id, size=len(items), is_cached=made.is_cached)


async def _trigger_inside(task: Target, run: Runtime, call: messages.Call) -> RunHandle[Any]:
    [made] = await run.trigger(call)
    return _handle(task, made)


async def _nothing() -> BatchResult[Any]:
    return BatchResult(())


def _handle(task: Target, made: Triggered) -> RunHandle[Any]:
    if made.error is not None:
        raise clients.refused(made.error)
    return RunHandle(
        made.run_id,
        task=task.id,
        is_cached=made.is_cached,
        read=task.decode_output,
    )


def _batch_handle(task: Target, made: tuple[Triggered, ...]) -> BatchHandle[Any]:
    refusals = [(index, one.error) for index, one in enumerate(made) if one.error is not None]
    if refusals:
        raise _refused(task, refusals, len(made))
    runs = tuple(_handle(task, one) for one in made)
    return BatchHandle(None, size=len(runs), runs=runs)


def _batch_result(task: Target, outcome: Outcome) -> BatchResult[Any]:
    if outcome.members is None and outcome.error is not None:
        raise run_error(outcome.error, task=task.id)
    members = outcome.members or ()
    return BatchResult(tuple(result_of(one, task) for one in members))


def _refused(task: Target, refusals: list[tuple[int, Refusal]], count: int) -> BatchTriggerError:
    index, first = refusals[0]
    return BatchTriggerError(
        f"{len(refusals)} of {count} runs of {task.id} were refused; item {index}: {first.message}",
        refusals=tuple((place, one.code, one.message) for place, one in refusals),
    )
