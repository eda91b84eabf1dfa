"""Tasks of the current version, their usage, and the errors of their runs."""

from urllib.parse import quote

import msgspec

from outlast.client.requests import Request, model
from outlast.protocol.activity import (
    ErrorBody,
    ErrorPage,
    ErrorStatus,
    TaskDetail,
    TaskPage,
    UsageBody,
)

_BASE = "/api/outlast/v1"


def list_page(page: int = 1, *, size: int = 25, search: str = "") -> Request[TaskPage]:
    """Return the request for a page of tasks, by id; pages count from 1."""
    query = [("page", str(page)), ("perPage", str(size))]
    if search:
        query.append(("search", search))
    return Request("GET", f"{_BASE}/tasks", model(TaskPage), query=tuple(query))


def retrieve(task: str, *, period: str = "1d") -> Request[TaskDetail]:
    """Return the request for a task and what it did in the last 1d, 7d, 30d or 90d."""
    path = f"{_BASE}/tasks/{quote(task, safe='')}"
    return Request("GET", path, model(TaskDetail), query=(("period", period),))


def usage(weeks: int = 5) -> Request[UsageBody]:
    """Return the request for what ended by week and task."""
    return Request("GET", f"{_BASE}/usage", model(UsageBody), query=(("weeks", str(weeks)),))


def list_errors(
    *,
    status: ErrorStatus | None = None,
    task: str | None = None,
    after: str | None = None,
    size: int = 25,
) -> Request[ErrorPage]:
    """Return the request for a page of errors, the last to happen first."""
    given = {"status": status, "task": task, "after": after, "limit": str(size)}
    query = tuple((name, value) for name, value in given.items() if value)
    return Request("GET", f"{_BASE}/errors", model(ErrorPage), query=query)


def retrieve_error(error: str) -> Request[ErrorBody]:
    """Return the request for one error with its last seven days."""
    return Request("GET", f"{_BASE}/errors/{quote(error, safe='')}", model(ErrorBody))


def mark_error(error: str, status: ErrorStatus) -> Request[ErrorBody]:
    """Return the request that resolves an error, ignores it, or opens it again."""
    return Request(
        "POST",
        f"{_BASE}/errors/{quote(error, safe='')}",
        model(ErrorBody),
        body=msgspec.json.encode({"status": status}),
    )
