"""Calls for many runs at once: through the run's journal inside a task, through HTTP outside."""

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, NamedTuple

from outlast.client.batches import MAX_ITEMS
from outlast.protocol import messages
from outlast.protocol.bodies import BatchCreated
from outlast.protocol.outcomes import Outcome
from outlast.protocol.triggers import Refusal, Trigger, Triggered
from outlast.sdk import batches, runtime
from outlast.sdk.batches import TaskItem
from outlast.sdk.calls import Call
from outlast.sdk.children import Target, entry, handle_of, item_of
from outlast.sdk.errors import BatchTriggerError, UsageError, run_error
from outlast.sdk.handles import BatchHandle
from outlast.sdk.inside import required
from outlast.sdk.options import (
    BatchOptions,
    BatchWaitOptions,
    RunOptions,
    TriggerOptions,
    token_expiry,
    unknown,
)
from outlast.sdk.results import BatchResult, result_of
from outlast.sdk.runtime import Runtime

Options = Mapping[str, Any]
Items = Iterable[TaskItem[Any]]
Stream = AsyncIterable[TaskItem[Any]]


class _Member(NamedTuple):
    task: Target
    trigger: Trigger
    options: Options


def batch_trigger(target: str, items: Items | Stream, options: Options) -> Call[BatchHandle[Any]]:
    """Return the call that creates many runs. `target` is what the journal calls them."""
    name = f"{target}.batch_trigger"
    _check(options, BatchOptions, target)
    run = runtime.current()
    if isinstance(items, AsyncIterable):
        stream, key = items, None if run is None else run.reserve("trigger", target)

        async def gather() -> BatchHandle[Any]:
            members: list[_Member] = []
            async for item in stream:  # encoded as it comes; the batch begins with its size
                members.append(_member(item, len(members), options))
            return await _trigger(run, target, members, options, key)

        return Call(name, gather)
    members = _members(items, options)
    if run is None or not members:
        return Call(name, lambda: _send(members, options))
    call = _call(run, "trigger", target, members)

    async def drive() -> BatchHandle[Any]:
        return _handle(members, await run.trigger(call), options)

    return Call(name, drive)


def batch_trigger_sync(target: str, items: Items, options: Options) -> BatchHandle[Any]:
    """Create many runs, blocking."""
    _check(options, BatchOptions, target)
    members = _members(items, options)
    if not members:
        return BatchHandle(None, size=0)
    run = runtime.current()
    if run is None:
        made = batches.create_sync([one.trigger for one in members], options.get("idempotency_key"))
        return _made(made, options)
    return _handle(members, run.trigger_sync(_call(run, "trigger", target, members)), options)


def batch_trigger_and_wait(target: str, items: Items, options: Options) -> Call[BatchResult[Any]]:
    """Return the call that creates many children and waits for all."""
    name = f"{target}.batch_trigger_and_wait"
    run = required(f"{name}()", _ADVICE)
    _check(options, BatchWaitOptions, target)
    members = _members(items, options, RunOptions)
    if not members:
        return Call(name, _nothing)
    call = _call(run, "batch", target, members, timeout=options.get("timeout"))

    async def drive() -> BatchResult[Any]:
        return _result(members, await run.resolve(call))

    return Call(name, drive)


def batch_trigger_and_wait_sync(target: str, items: Items, options: Options) -> BatchResult[Any]:
    """Create many children and block until all have ended."""
    run = required(f"{target}.batch_trigger_and_wait_sync()", _ADVICE)
    _check(options, BatchWaitOptions, target)
    members = _members(items, options, RunOptions)
    if not members:
        return BatchResult(())
    call = _call(run, "batch", target, members, timeout=options.get("timeout"))
    return _result(members, run.resolve_sync(call))


_ADVICE = "elsewhere use .batch_trigger()"


def _check(options: Options, allowed: type, target: str) -> None:
    known = allowed.__annotations__
    for name in options:
        if name not in known:
            raise unknown(name, known, f"batch of {target}")
    token_expiry(options)


def _members(items: Items, options: Options, allowed: type = TriggerOptions) -> list[_Member]:
    return [_member(one, index, options, allowed) for index, one in enumerate(items)]


def _member(
    item: TaskItem[Any], index: int, options: Options, allowed: type = TriggerOptions
) -> _Member:
    """Return one item, its payload as text. Raises `UsageError` for one too many."""
    if index >= MAX_ITEMS:
        raise UsageError(f"a batch has at most {MAX_ITEMS} items; make several")
    own = batches.keyed(item.options, options.get("idempotency_key"), index)
    return _Member(item.task, item_of(item.task, item.payload, own, allowed), own)


def _call(
    run: Runtime,
    kind: messages.CallKind,
    target: str,
    members: list[_Member],
    *,
    timeout: Any = None,
    key: str | None = None,
) -> messages.Call:
    items = [one.trigger for one in members]
    is_batch = kind == "trigger"
    return entry(run, kind, target, items, timeout=timeout, key=key, is_batch=is_batch)


async def _trigger(
    run: Runtime | None, target: str, members: list[_Member], options: Options, key: str | None
) -> BatchHandle[Any]:
    if run is None or not members:
        return await _send(members, options)
    made = await run.trigger(_call(run, "trigger", target, members, key=key))
    return _handle(members, made, options)


async def _send(members: list[_Member], options: Options) -> BatchHandle[Any]:
    if not members:
        return BatchHandle(None, size=0)
    made = await batches.create([one.trigger for one in members], options.get("idempotency_key"))
    return _made(made, options)


def _made(made: BatchCreated, options: Options) -> BatchHandle[Any]:
    return BatchHandle(
        made.id, size=made.run_count, is_cached=made.is_cached, expires=token_expiry(options)
    )


async def _nothing() -> BatchResult[Any]:
    return BatchResult(())


def _handle(
    members: list[_Member], made: tuple[Triggered, ...], options: Options
) -> BatchHandle[Any]:
    batch = made[0].batch_id or None
    refusals = [(index, one.error) for index, one in enumerate(made) if one.error is not None]
    if refusals:
        raise _refused(batch, refusals, len(made))
    runs = tuple(
        handle_of(one.task, run, one.options) for one, run in zip(members, made, strict=True)
    )
    known = all(run.is_cached for run in made)
    return BatchHandle(
        batch, size=len(runs), is_cached=known, runs=runs, expires=token_expiry(options)
    )


def _result(members: list[_Member], outcome: Outcome) -> BatchResult[Any]:
    if outcome.members is None and outcome.error is not None:
        raise run_error(outcome.error, task=members[0].task.id)
    ends = outcome.members or ()
    return BatchResult(
        tuple(result_of(end, one.task) for one, end in zip(members, ends, strict=True))
    )


def _refused(
    batch: str | None, refusals: list[tuple[int, Refusal]], count: int
) -> BatchTriggerError:
    told = tuple((index, one.code, one.message) for index, one in refusals)
    return BatchTriggerError(
        batches.refused_text(batch, told, count),
        phase="stream",
        item_count=count,
        batch_id=batch,
        refusals=told,
    )
