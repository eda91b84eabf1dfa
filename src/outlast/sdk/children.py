"""Trigger calls: through the run's journal inside a task, through HTTP outside."""

import hashlib
from collections.abc import Mapping
from secrets import token_hex
from typing import Any, Protocol

from outlast.client import clients
from outlast.client.settings import pinned_version
from outlast.protocol import messages
from outlast.protocol.triggers import Trigger, Triggered
from outlast.sdk import outbox, runtime, transactions
from outlast.sdk.calls import Call
from outlast.sdk.durations import seconds
from outlast.sdk.errors import UsageError
from outlast.sdk.handles import RunHandle
from outlast.sdk.inside import preview, required
from outlast.sdk.options import (
    TriggerOptions,
    WaitOptions,
    build,
    token_expiry,
)
from outlast.sdk.outbox import Promised
from outlast.sdk.results import Readable, Result, result_of
from outlast.sdk.runtime import Runtime

Options = Mapping[str, Any]


class Target(Readable, Protocol):
    """What these calls need to know about a task."""

    def encode_payload(self, payload: object) -> str | None:
        """Return a payload as JSON text."""


def trigger(task: Target, payload: object, options: Options) -> Call[RunHandle[Any]]:
    """Return the call that creates a run."""
    item = item_of(task, payload, options)
    run = runtime.current()
    if run is None:
        return Call(f"{task.id}.trigger", lambda: _send(task, item, options))
    call = entry(run, "trigger", task.id, [item])
    return Call(f"{task.id}.trigger", lambda: _trigger_inside(task, run, call, options))


def trigger_sync(task: Target, payload: object, options: Options) -> RunHandle[Any]:
    """Create a run, blocking."""
    item = item_of(task, payload, options)
    run = runtime.current()
    if run is None:
        return handle_of(task, clients.send_trigger_sync(item), options)
    [made] = run.trigger_sync(entry(run, "trigger", task.id, [item]))
    return handle_of(task, made, options)


def trigger_on_commit(task: Target, payload: object, options: Options) -> None:
    """Create a run once Django's transaction has committed; check now what it is."""
    item = item_of(task, payload, _without_handle(options, "on_commit=True"))
    run = runtime.current()

    def send() -> None:
        if run is None:
            clients.send_trigger_sync(item)
        else:
            run.trigger_sync(entry(run, "trigger", task.id, [item]))

    transactions.after_commit(send)


def trigger_within(
    task: Target, payload: object, options: Options, connection: object
) -> Call[Promised]:
    """Return the call that makes a run part of the transaction of an async connection.

    The transaction decides whether there is one, so the journal of a calling run says nothing.
    """
    item = item_of(task, payload, _without_handle(options, "connection="))
    return Call(f"{task.id}.trigger", lambda: outbox.write(item, connection))


def trigger_within_sync(
    task: Target, payload: object, options: Options, connection: object
) -> Promised:
    """Make a run part of the transaction of a blocking connection."""
    item = item_of(task, payload, _without_handle(options, "connection="))
    return outbox.write_sync(item, connection)


def _without_handle(options: Options, where: str) -> Options:
    if "public_token_options" in options:
        raise UsageError(
            f"there is no handle with {where}, so there is no token of it: leave "
            "public_token_options out, and use auth.create_public_token()"
        )
    return options


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


_ADVICE = "elsewhere use `handle = await task.trigger(...)` and `await handle.result()`"
_ADVICE_SYNC = "elsewhere use `handle = task.trigger_sync(...)` and `handle.result_sync()`"


def item_of(
    task: Target, payload: object, options: Options, allowed: type = TriggerOptions
) -> Trigger:
    """Return what a call asks for. Raises `UsageError`, `PayloadError`."""
    # Inside a run the journal makes a call safe to repeat; outside it is this key.
    key = token_hex(16) if runtime.current() is None else None
    text = task.encode_payload(payload)
    if allowed is TriggerOptions and (version := pinned_version()) is not None:
        options = {"version": version, **options}
    return build(task.id, text, options, request_key=key, allowed=allowed)


def _child(task: Target, run: Runtime, payload: object, options: Options) -> messages.Call:
    item = item_of(task, payload, options, WaitOptions)
    return entry(run, "child", task.id, [item], timeout=options.get("timeout"))


def entry(
    run: Runtime,
    kind: messages.CallKind,
    target: str,
    items: list[Trigger],
    *,
    timeout: Any = None,
    key: str | None = None,
    is_batch: bool = False,
) -> messages.Call:
    """Return the call for these items, in the place of the journal that is next, or at `key`."""
    limit = None if timeout is None else seconds(timeout, "timeout")
    own = items[0].idempotency_key if len(items) == 1 else None
    name = target if own is None else f"{target}[{own[:16]}]"
    return messages.Call(
        key=run.reserve(kind, name) if key is None else key,
        kind=kind,
        name=name,
        items=tuple(items),
        timeout=limit,
        arguments=_digest(items),
        preview=preview(items[0].payload),
        is_batch=is_batch,
    )


def _digest(items: list[Trigger]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for item in items:
        digest.update((item.payload or "").encode())
        digest.update(b"\0")
    return digest.hexdigest()


async def _send(task: Target, item: Trigger, options: Options) -> RunHandle[Any]:
    return handle_of(task, await clients.send_trigger(item), options)


async def _trigger_inside(
    task: Target, run: Runtime, call: messages.Call, options: Options
) -> RunHandle[Any]:
    [made] = await run.trigger(call)
    return handle_of(task, made, options)


def handle_of(task: Target, made: Triggered, options: Options) -> RunHandle[Any]:
    """Return the handle of a run that was made. Raises the error of one that was refused."""
    if made.error is not None:
        raise clients.refused(made.error)
    return RunHandle(
        made.run_id,
        task=task.id,
        is_cached=made.is_cached,
        read=task.decode_output,
        expires=token_expiry(options),
    )
