"""Runs of this environment: read, list, follow, cancel, replay. `bulk` does many."""

import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, Unpack

from outlast.client import clients, replays
from outlast.client import runs as requests
from outlast.client.requests import Request
from outlast.client.subscriptions import RunUpdate
from outlast.protocol.bodies import IdReply, ListedRun, RunDetail, RunPage
from outlast.protocol.durations import iso, whole_seconds
from outlast.sdk import bulk
from outlast.sdk.blocking import check_blocking
from outlast.sdk.durations import Duration, moment, seconds
from outlast.sdk.errors import PayloadError
from outlast.sdk.filters import RunFilters, in_query
from outlast.sdk.handles import RunHandle
from outlast.sdk.options import TriggerOptions, build
from outlast.sdk.serde import Codec
from outlast.sdk.subscriptions import (
    subscribe,
    subscribe_sync,
    subscribe_to_batch,
    subscribe_to_batch_sync,
    subscribe_to_tag,
    subscribe_to_tag_sync,
)
from outlast.sdk.tags import check

__all__ = [
    "RunFilters",
    "RunUpdate",
    "bulk",
    "cancel",
    "cancel_sync",
    "delete",
    "delete_sync",
    "handle",
    "list",
    "list_sync",
    "pages",
    "pages_sync",
    "poll",
    "poll_sync",
    "replay",
    "replay_sync",
    "reschedule",
    "reschedule_sync",
    "result",
    "result_sync",
    "retrieve",
    "retrieve_sync",
    "subscribe",
    "subscribe_sync",
    "subscribe_to_batch",
    "subscribe_to_batch_sync",
    "subscribe_to_tag",
    "subscribe_to_tag_sync",
]

PAGE: Final = 100
_SAME: Final = object()
_payload: Final = Codec[Any](lambda: Any, subject="payload", owner="replay", error=PayloadError)


async def retrieve(run_id: str) -> RunDetail:
    """Return everything about a run. Raises `NotFoundError`."""
    return await clients.send(requests.retrieve(run_id))


def retrieve_sync(run_id: str) -> RunDetail:
    """Blocking `retrieve`."""
    check_blocking("runs.retrieve_sync()", "runs.retrieve()")
    return clients.send_sync(requests.retrieve(run_id))


def handle(run_id: str) -> RunHandle[Any]:
    """Return the handle of a run known by its id; its output is plain JSON."""
    return RunHandle(run_id, task=run_id, is_cached=False, read=_plain)


async def result(run_id: str, *, timeout: Duration | None = None) -> Any:  # noqa: ASYNC109
    """Wait for a run's end and return its output as plain JSON; raises as `handle.result()`."""
    return await handle(run_id).result(timeout=timeout)


def result_sync(run_id: str, *, timeout: Duration | None = None) -> Any:
    """Blocking `result`."""
    return handle(run_id).result_sync(timeout=timeout)


async def poll(run_id: str, *, timeout: Duration | None = None) -> RunDetail:  # noqa: ASYNC109
    """Wait for a run's end, good or bad, and return the run. Raises `TimeoutError`."""
    deadline = _deadline(timeout)
    while await clients.send(requests.end(run_id, _patience(deadline))) is None:
        _check(run_id, deadline)
    return await retrieve(run_id)


def poll_sync(run_id: str, *, timeout: Duration | None = None) -> RunDetail:
    """Blocking `poll`."""
    check_blocking("runs.poll_sync()", "runs.poll()")
    deadline = _deadline(timeout)
    while clients.send_sync(requests.end(run_id, _patience(deadline))) is None:
        _check(run_id, deadline)
    return retrieve_sync(run_id)


async def cancel(run_id: str) -> None:
    """Cancel a run and its children. One that has ended stays as it is."""
    await clients.send(requests.cancel(run_id))


def cancel_sync(run_id: str) -> None:
    """Blocking `cancel`."""
    check_blocking("runs.cancel_sync()", "runs.cancel()")
    clients.send_sync(requests.cancel(run_id))


async def delete(run_id: str) -> None:
    """Delete a run that has ended, with all that is its own; its children stay.

    Raises `NotFoundError`, `UnprocessableError` when it has not ended or its parent still needs it.
    """
    await clients.send(requests.delete(run_id))


def delete_sync(run_id: str) -> None:
    """Blocking `delete`."""
    check_blocking("runs.delete_sync()", "runs.delete()")
    clients.send_sync(requests.delete(run_id))


async def replay(
    run_id: str, *, payload: object = _SAME, **changes: Unpack[TriggerOptions]
) -> RunHandle[Any]:
    """Make a run again on the current version, and return the new one's handle.

    What is not given is as it was, but delay, idempotency key and version pin.
    """
    return handle((await clients.send(_replay(run_id, payload, changes))).id)


def replay_sync(
    run_id: str, *, payload: object = _SAME, **changes: Unpack[TriggerOptions]
) -> RunHandle[Any]:
    """Blocking `replay`."""
    check_blocking("runs.replay_sync()", "runs.replay()")
    return handle(clients.send_sync(_replay(run_id, payload, changes)).id)


async def reschedule(run_id: str, delay: Duration | datetime) -> RunDetail:
    """Let a delayed run start after `delay` from now, or at a moment. Raises `ApiError`."""
    return await clients.send(replays.reschedule(run_id, _delay(delay)))


def reschedule_sync(run_id: str, delay: Duration | datetime) -> RunDetail:
    """Blocking `reschedule`."""
    check_blocking("runs.reschedule_sync()", "runs.reschedule()")
    return clients.send_sync(replays.reschedule(run_id, _delay(delay)))


async def update_metadata(run_id: str, values: Mapping[str, object]) -> dict[str, object]:
    """Set keys of a run's metadata from outside and return all of it; the others stay.

    Works until an hour after the end. Raises `UnprocessableError` when it would be over 256 KB.
    """
    return dict((await clients.send(requests.update_metadata(run_id, values))).metadata)


def update_metadata_sync(run_id: str, values: Mapping[str, object]) -> dict[str, object]:
    """Blocking `update_metadata`."""
    check_blocking("runs.update_metadata_sync()", "runs.update_metadata()")
    return dict(clients.send_sync(requests.update_metadata(run_id, values)).metadata)


async def add_tags(run_id: str, *tags: str) -> None:
    """Add tags to a run. Raises `UnprocessableError` for an eleventh."""
    await clients.send(requests.add_tags(run_id, check(tags)))


def add_tags_sync(run_id: str, *tags: str) -> None:
    """Blocking `add_tags`."""
    check_blocking("runs.add_tags_sync()", "runs.add_tags()")
    clients.send_sync(requests.add_tags(run_id, check(tags)))


async def list(**filters: Unpack[RunFilters]) -> AsyncIterator[ListedRun]:  # noqa: A001
    """Yield runs, newest first, page by page: `async for run in runs.list(tag="org_1")`."""
    async for page in pages(**filters):
        for run in page.data:
            yield run


def list_sync(**filters: Unpack[RunFilters]) -> Iterator[ListedRun]:
    """Blocking `list`."""
    for page in pages_sync(**filters):
        yield from page.data


async def pages(
    size: int = PAGE, after: str | None = None, **filters: Unpack[RunFilters]
) -> AsyncIterator[RunPage]:
    """Yield pages of up to `size` runs (1 to 100), from a cursor on: `page.pagination.next`."""
    wanted = in_query(filters, "runs.list()")
    while True:
        page = await clients.send(requests.list_page(wanted, size=size, after=after))
        yield page
        after = page.pagination.next
        if after is None:
            return


def pages_sync(
    size: int = PAGE, after: str | None = None, **filters: Unpack[RunFilters]
) -> Iterator[RunPage]:
    """Blocking `pages`."""
    wanted = in_query(filters, "runs.list()")
    while True:
        check_blocking("runs.list_sync()", "runs.list()")
        page = clients.send_sync(requests.list_page(wanted, size=size, after=after))
        yield page
        after = page.pagination.next
        if after is None:
            return


def _replay(run_id: str, payload: object, changes: TriggerOptions) -> Request[IdReply]:
    text = None if payload is _SAME else _payload.encode(payload)
    return replays.replay(run_id, build(f"run {run_id}", text, changes))


def _delay(delay: Duration | datetime) -> str:
    if isinstance(delay, datetime):
        return str(iso(moment(delay, "delay")))
    return str(whole_seconds(seconds(delay, "delay")))


def _plain(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _deadline(timeout: Duration | None) -> float | None:
    return None if timeout is None else time.monotonic() + seconds(timeout, "timeout")


def _patience(deadline: float | None) -> float:
    if deadline is None:
        return requests.POLL_SECONDS
    return max(0.0, min(requests.POLL_SECONDS, deadline - time.monotonic()))


def _check(run_id: str, deadline: float | None) -> None:
    if deadline is not None and time.monotonic() >= deadline:
        raise TimeoutError(f"run {run_id} has not ended yet; it goes on")
