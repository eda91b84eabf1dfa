"""Following runs live: `async for run in runs.subscribe(run_id)`, by tags, by batch.

Each yields the run as it is now, then again whenever something about it changes: status, metadata,
tags, output. A state can be skipped when the next one follows at once, the last one never is. A
server that restarts or cannot be reached for a while is waited for.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Iterator

from outlast.client import clients, subscriptions
from outlast.client.errors import ApiError, TransportError
from outlast.client.subscriptions import Feed, RunUpdate
from outlast.sdk.blocking import check_blocking
from outlast.sdk.durations import Duration, seconds
from outlast.sdk.errors import UsageError


def subscribe(run_id: str, *, skip: Collection[str] = ()) -> AsyncGenerator[RunUpdate, None]:
    """Yield a run whenever it changes, until it has ended; a run that is not there is waited for.

    `skip` names columns that are not sent, such as `payload` and `output`. Raises `ApiError`.
    """
    return _follow(subscriptions.run(run_id, skip))


def subscribe_sync(run_id: str, *, skip: Collection[str] = ()) -> Iterator[RunUpdate]:
    """Blocking `subscribe`."""
    check_blocking("runs.subscribe_sync()", "runs.subscribe()")
    return _follow_sync(subscriptions.run(run_id, skip))


def subscribe_to_tag(
    *tags: str, since: Duration | None = None, skip: Collection[str] = ()
) -> AsyncGenerator[RunUpdate, None]:
    """Yield the runs that have all the tags, and each again whenever it changes, without end.

    `since` is how far back the first ones were created, one day at most, which is the default.
    """
    return _follow(_tagged(tags, since, skip))


def subscribe_to_tag_sync(
    *tags: str, since: Duration | None = None, skip: Collection[str] = ()
) -> Iterator[RunUpdate]:
    """Blocking `subscribe_to_tag`."""
    check_blocking("runs.subscribe_to_tag_sync()", "runs.subscribe_to_tag()")
    return _follow_sync(_tagged(tags, since, skip))


def subscribe_to_batch(
    batch_id: str, *, skip: Collection[str] = ()
) -> AsyncGenerator[RunUpdate, None]:
    """Yield the runs of a batch, and each again whenever it changes, without end."""
    return _follow(subscriptions.batch(batch_id, skip))


def subscribe_to_batch_sync(batch_id: str, *, skip: Collection[str] = ()) -> Iterator[RunUpdate]:
    """Blocking `subscribe_to_batch`."""
    check_blocking("runs.subscribe_to_batch_sync()", "runs.subscribe_to_batch()")
    return _follow_sync(subscriptions.batch(batch_id, skip))


def _tagged(tags: tuple[str, ...], since: Duration | None, skip: Collection[str]) -> Feed:
    if not tags:
        raise UsageError("name a tag: runs.subscribe_to_tag('org_1')")
    back = None if since is None else seconds(since, "since")
    return subscriptions.tagged(tags, back, skip)


async def _follow(feed: Feed) -> AsyncGenerator[RunUpdate, None]:
    while not feed.is_over:
        try:
            answer = await clients.send(feed.request())
        except (ApiError, TransportError) as error:
            await asyncio.sleep(feed.failed(error))
            continue
        for update in feed.received(answer):
            yield update


def _follow_sync(feed: Feed) -> Iterator[RunUpdate]:
    while not feed.is_over:
        try:
            answer = clients.send_sync(feed.request())
        except (ApiError, TransportError) as error:
            time.sleep(feed.failed(error))
            continue
        yield from feed.received(answer)
