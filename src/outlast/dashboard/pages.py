"""What each page shows: the API's bodies turned into what a template prints."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import JsonValue, ValidationError
from starlette.requests import Request

from outlast.protocol.bodies import Body, RunBody, RunDetail, RunPage
from outlast.protocol.timeline import JournalBody, LogsBody

_Body = TypeVar("_Body", bound=Body)
Fetch = Callable[[str], Awaitable[tuple[int, bytes]]]
"""GETs a path of the public API, query included, for who looks: status and body."""

PAGE_SIZE = 25
REFRESH_SECONDS = 3
_FILTERS = {
    "status": "filter[status]",
    "task": "filter[taskIdentifier]",
    "tag": "filter[tag]",
    "after": "page[after]",
    "before": "page[before]",
}
_SHOWN_CHARS = 100_000
_SHOWN_LINES = 500
_STATUSES = (
    "QUEUED", "DELAYED", "PENDING_VERSION", "DEQUEUED", "EXECUTING", "WAITING", "COMPLETED",
    "FAILED", "CANCELED", "CRASHED", "SYSTEM_FAILURE", "TIMED_OUT", "EXPIRED",
)  # fmt: skip


class NotShown(Exception):  # noqa: N818 - a page of its own, not a fault of ours
    """There is nothing to show; the message says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def runs_page(fetch: Fetch, request: Request) -> str:
    """Show the newest runs, filtered by what the URL says."""
    given = {
        name: request.query_params[name] for name in _FILTERS if request.query_params.get(name)
    }
    query = {_FILTERS[name]: value for name, value in given.items()}
    page = await _get(
        fetch, f"/api/v1/runs?{urlencode({**query, 'page[size]': PAGE_SIZE})}", RunPage
    )
    filters = {name: value for name, value in given.items() if name not in {"after", "before"}}
    return _render(
        "runs.html",
        runs=page.data,
        filters=filters,
        statuses=_STATUSES,
        older=_link(filters, "after", page.pagination.next),
        newer=_link(filters, "before", page.pagination.previous),
        live=True,
    )


async def run_page(fetch: Fetch, request: Request) -> str:
    """Show one run with what it was given, what it made of it, and its family."""
    run_id = quote(request.path_params["run_id"], safe="")
    run = await _get(fetch, f"/api/v3/runs/{run_id}", RunDetail)
    own = f"/api/outlast/v1/runs/{run_id}"
    journal = await _get(fetch, f"{own}/journal", JournalBody)
    logs = await _get(fetch, f"{own}/logs?limit={_SHOWN_LINES}", LogsBody)
    return _render(
        "run.html", run=run, entries=journal.entries, logs=logs, live=not run.is_completed
    )


def render_problem(problem: NotShown) -> str:
    """Return the page that says why there is nothing to see."""
    return _render("problem.html", status=problem.status, message=str(problem), live=False)


async def _get(fetch: Fetch, path: str, body: type[_Body]) -> _Body:
    status, text = await fetch(path)
    if status != 200:  # noqa: PLR2004 - HTTP's word for success
        raise NotShown(status, _reason(text))
    try:
        return body.model_validate_json(text)
    except ValidationError as error:
        raise NotShown(502, "the API answered something this page does not understand") from error


def _reason(text: bytes) -> str:
    try:
        reason = json.loads(text)["error"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return "the API did not say why"
    return str(reason)


def _link(filters: dict[str, str], name: str, cursor: str | None) -> str | None:
    return f"/runs?{urlencode({**filters, name: cursor})}" if cursor else None


def _render(template: str, **values: object) -> str:
    return _templates.get_template(template).render(values, refresh=REFRESH_SECONDS)


def _pretty(value: JsonValue) -> str:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    if len(text) > _SHOWN_CHARS:
        return f"{text[:_SHOWN_CHARS]}\n… {len(text) - _SHOWN_CHARS:,} more characters"
    return text


def _since(moment: datetime) -> str:
    """Return how long ago a moment was, in its two largest units."""
    return f"{_span((datetime.now(UTC) - moment).total_seconds())} ago"


def _took(run: RunBody) -> str:
    return "" if run.started_at is None else _between(run.started_at, run.finished_at)


def _between(start: datetime, end: datetime | None) -> str:
    return _span(((end or datetime.now(UTC)) - start).total_seconds())


def _span(seconds: float) -> str:
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _progress(run: RunBody) -> float | None:
    """Return the share done, when the run's metadata says one in the usual ways."""
    value = (run.metadata or {}).get("progress")
    if isinstance(value, dict):
        done, total = value.get("done", value.get("current")), value.get("total")
        if isinstance(done, int | float) and isinstance(total, int | float) and total > 0:
            return min(1.0, max(0.0, done / total))
    if isinstance(value, int | float) and not isinstance(value, bool):
        share = value if value <= 1 else value / 100
        return min(1.0, max(0.0, share))
    return None


_templates = Environment(
    loader=PackageLoader("outlast.dashboard"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(
    pretty=_pretty,
    since=_since,
    took=_took,
    until=_between,
    progress=_progress,
    segment=lambda text: quote(text, safe=""),
)
