"""Runs of this environment: read, list, cancel."""

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from typing import Final, TypedDict, Unpack

from outlast.client import clients
from outlast.client import runs as requests
from outlast.protocol.bodies import ListedRun, RunDetail
from outlast.sdk.blocking import check_blocking
from outlast.sdk.durations import moment
from outlast.sdk.errors import UsageError

PAGE: Final = 100

Several = str | Sequence[str]


class RunFilters(TypedDict, total=False):
    """Which runs to list. Texts are alternatives when there are several."""

    status: Several
    task: Several
    version: Several
    tag: Several
    queue: Several
    batch: str
    is_test: bool
    period: str
    created_after: datetime
    created_before: datetime


_NAMES: Final = {
    "status": "[status]",
    "task": "[taskIdentifier]",
    "version": "[version]",
    "tag": "[tag]",
    "queue": "[queue]",
    "batch": "[batch]",
    "is_test": "[isTest]",
    "period": "[createdAt][period]",
    "created_after": "[createdAt][from]",
    "created_before": "[createdAt][to]",
}


async def retrieve(run_id: str) -> RunDetail:
    """Return everything about a run. Raises `NotFoundError`."""
    return await clients.send(requests.retrieve(run_id))


def retrieve_sync(run_id: str) -> RunDetail:
    """Blocking `retrieve`."""
    check_blocking("runs.retrieve_sync()", "runs.retrieve()")
    return clients.send_sync(requests.retrieve(run_id))


async def cancel(run_id: str) -> None:
    """Cancel a run and its children. One that has ended stays as it is."""
    await clients.send(requests.cancel(run_id))


def cancel_sync(run_id: str) -> None:
    """Blocking `cancel`."""
    check_blocking("runs.cancel_sync()", "runs.cancel()")
    clients.send_sync(requests.cancel(run_id))


async def list(**filters: Unpack[RunFilters]) -> AsyncIterator[ListedRun]:  # noqa: A001
    """Yield runs, newest first, page by page: `async for run in runs.list(tag="org_1")`."""
    wanted = _query(filters)
    after: str | None = None
    while True:
        page = await clients.send(requests.list_page(wanted, size=PAGE, after=after))
        for run in page.data:
            yield run
        after = page.pagination.next
        if after is None:
            return


def list_sync(**filters: Unpack[RunFilters]) -> Iterator[ListedRun]:
    """Blocking `list`."""
    wanted = _query(filters)
    after: str | None = None
    while True:
        check_blocking("runs.list_sync()", "runs.list()")
        page = clients.send_sync(requests.list_page(wanted, size=PAGE, after=after))
        yield from page.data
        after = page.pagination.next
        if after is None:
            return


def _query(filters: RunFilters) -> dict[str, str]:
    return {_name(name): _text(name, value) for name, value in filters.items()}


def _name(name: str) -> str:
    try:
        return _NAMES[name]
    except KeyError:
        raise UsageError(
            f"runs.list(): {name} is no filter; known are {', '.join(sorted(_NAMES))}"
        ) from None


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return str(int(moment(value, name) * 1000))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(str(part) for part in value)
    return str(value)
