"""One cancel or replay over many runs: `await runs.bulk.cancel(tag="org_1", status="QUEUED")`.

The server works through them; an action is followed with `wait` or `retrieve` and stopped with
`abort`. Every call has a `_sync` twin.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, Literal, Unpack

from outlast.client import clients
from outlast.client import replays as requests
from outlast.client.requests import Request
from outlast.protocol.bodies import IdReply
from outlast.protocol.bulk import BulkBody
from outlast.sdk.blocking import check_blocking
from outlast.sdk.durations import Duration, seconds
from outlast.sdk.filters import RunFilters, in_body

PAGE: Final = 100
_PAUSE: Final = 0.5


async def cancel(
    run_ids: Sequence[str] | None = None,
    /,
    *,
    name: str | None = None,
    **filters: Unpack[RunFilters],
) -> BulkBody:
    """Begin to cancel the runs that a filter finds now, or up to 500 named ones.

    A filter without `period` or `created_after` reaches back 7 days. A run that has ended counts
    as a failure.
    """
    made = await clients.send(_begin("cancel", run_ids, name, filters))
    return await retrieve(made.id)


def cancel_sync(
    run_ids: Sequence[str] | None = None,
    /,
    *,
    name: str | None = None,
    **filters: Unpack[RunFilters],
) -> BulkBody:
    """Blocking `cancel`."""
    check_blocking("runs.bulk.cancel_sync()", "runs.bulk.cancel()")
    return retrieve_sync(clients.send_sync(_begin("cancel", run_ids, name, filters)).id)


async def replay(
    run_ids: Sequence[str] | None = None,
    /,
    *,
    name: str | None = None,
    **filters: Unpack[RunFilters],
) -> BulkBody:
    """Begin to make runs again, chosen as for `cancel`."""
    made = await clients.send(_begin("replay", run_ids, name, filters))
    return await retrieve(made.id)


def replay_sync(
    run_ids: Sequence[str] | None = None,
    /,
    *,
    name: str | None = None,
    **filters: Unpack[RunFilters],
) -> BulkBody:
    """Blocking `replay`."""
    check_blocking("runs.bulk.replay_sync()", "runs.bulk.replay()")
    return retrieve_sync(clients.send_sync(_begin("replay", run_ids, name, filters)).id)


async def retrieve(bulk_id: str) -> BulkBody:
    """Return an action with its progress. Raises `NotFoundError`."""
    return await clients.send(requests.retrieve_bulk(bulk_id))


def retrieve_sync(bulk_id: str) -> BulkBody:
    """Blocking `retrieve`."""
    check_blocking("runs.bulk.retrieve_sync()", "runs.bulk.retrieve()")
    return clients.send_sync(requests.retrieve_bulk(bulk_id))


async def wait(bulk_id: str, *, timeout: Duration | None = None) -> BulkBody:  # noqa: ASYNC109
    """Return an action once it is completed or aborted. Raises `TimeoutError`; it goes on then."""
    deadline = _deadline(timeout)
    while True:
        found = await retrieve(bulk_id)
        if _is_over(found, deadline):
            return found
        await asyncio.sleep(_PAUSE)


def wait_sync(bulk_id: str, *, timeout: Duration | None = None) -> BulkBody:
    """Blocking `wait`."""
    deadline = _deadline(timeout)
    while True:
        found = retrieve_sync(bulk_id)
        if _is_over(found, deadline):
            return found
        time.sleep(_PAUSE)


async def abort(bulk_id: str) -> None:
    """Stop an action; what is under way still happens."""
    await clients.send(requests.abort_bulk(bulk_id))


def abort_sync(bulk_id: str) -> None:
    """Blocking `abort`."""
    check_blocking("runs.bulk.abort_sync()", "runs.bulk.abort()")
    clients.send_sync(requests.abort_bulk(bulk_id))


async def list() -> AsyncIterator[BulkBody]:  # noqa: A001
    """Yield all actions, newest first."""
    after: str | None = None
    while True:
        page = await clients.send(requests.list_bulk(size=PAGE, after=after))
        for action in page.data:
            yield action
        after = page.pagination.next
        if after is None:
            return


def list_sync() -> Iterator[BulkBody]:
    """Blocking `list`."""
    after: str | None = None
    while True:
        check_blocking("runs.bulk.list_sync()", "runs.bulk.list()")
        page = clients.send_sync(requests.list_bulk(size=PAGE, after=after))
        yield from page.data
        after = page.pagination.next
        if after is None:
            return


def _begin(
    action: Literal["cancel", "replay"],
    run_ids: Sequence[str] | None,
    name: str | None,
    filters: RunFilters,
) -> Request[IdReply]:
    wanted = in_body(filters, f"runs.bulk.{action}()")
    return requests.begin_bulk(action, filters=wanted or None, run_ids=run_ids, name=name)


def _deadline(timeout: Duration | None) -> float | None:
    return None if timeout is None else time.monotonic() + seconds(timeout, "timeout")


def _is_over(found: BulkBody, deadline: float | None) -> bool:
    if found.status != "PENDING":
        return True
    if deadline is not None and time.monotonic() >= deadline:
        counts = found.counts
        done = counts.success + counts.failure
        raise TimeoutError(
            f"bulk action {found.id} has done {done} of {counts.total} runs; it goes on"
        )
    return False
