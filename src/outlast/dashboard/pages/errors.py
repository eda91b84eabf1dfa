"""Errors: failures that look alike as one, how often they happen, and what was decided of them."""

from dataclasses import dataclass
from datetime import UTC, datetime

from outlast.client import replays, runs, tasks
from outlast.dashboard.charts import Chart, Series
from outlast.dashboard.visit import Done, Moved, Page, Shown, Visit, link
from outlast.protocol.activity import ErrorBody, ErrorStatus
from outlast.protocol.bodies import ListedRun

PAGE_SIZE = 25
STATUSES: tuple[tuple[ErrorStatus, str], ...] = (
    ("open", "Open"),
    ("resolved", "Resolved"),
    ("ignored", "Ignored"),
)
_SAID = {
    "open": "open again",
    "resolved": "resolved, until it happens again",
    "ignored": "ignored, however often it happens",
}
_HOUR = 3600
_RUNS = 10


@dataclass(frozen=True, kw_only=True)
class ErrorsView:
    """A page of errors with a small chart each."""

    rows: tuple[tuple[ErrorBody, Chart], ...]
    status: ErrorStatus
    task: str
    newest: str | None
    older: str | None

    @property
    def statuses(self) -> tuple[tuple[ErrorStatus, str], ...]:
        """What can be looked at."""
        return STATUSES


@dataclass(frozen=True, kw_only=True)
class ErrorView:
    """One error with its last days and runs."""

    error: ErrorBody
    chart: Chart
    runs: tuple[ListedRun, ...]


async def show(visit: Visit) -> Page:
    """Show what fails, the last to happen first."""
    asked = visit.query("status", "task", "after")
    status = _status(asked.get("status"))
    task = asked.get("task", "")
    found = await visit.ask(
        tasks.list_errors(
            status=status, task=task or None, after=asked.get("after"), size=PAGE_SIZE
        )
    )
    now = datetime.now(UTC)
    here = {"status": status if status != "open" else "", "task": task}
    view = ErrorsView(
        rows=tuple((error, chart(error, 24, now)) for error in found.data),
        status=status,
        task=task,
        newest=link("errors", **here) if "after" in asked else None,
        older=link("errors", **here, after=found.next) if found.next else None,
    )
    return Page("errors.html", view, live="after" not in asked)


async def show_one(visit: Visit) -> Page:
    """Show one error and the runs that failed of it."""
    error_id = visit.path("error_id")
    error = await visit.ask(tasks.retrieve_error(error_id))
    listed = await visit.ask(runs.list_page({"[error]": error_id}, size=_RUNS, after=None))
    view = ErrorView(
        error=error, chart=chart(error, 7 * 24, datetime.now(UTC), 3), runs=listed.data
    )
    return Page("error.html", view, live=True)


async def mark_error(visit: Visit) -> Moved:
    """Resolve an error, ignore it, or open it again."""
    error_id, found = visit.path("error_id"), _status(visit.path("status"))
    await visit.ask(tasks.mark_error(error_id, found))
    back = "errors" if visit.form.get("back") == "list" else f"errors/{error_id}"
    return Moved(back, f"the error is {_SAID[found]}")


async def replay_failed(visit: Visit) -> Moved:
    """Replay every run that failed of an error, in the background."""
    error_id = visit.path("error_id")
    begun = await visit.ask(
        replays.begin_bulk("replay", filters={"error": error_id}, run_ids=None, name=None)
    )
    return Moved(link("runs", bulk=begun.id), "replaying the runs that failed of this error")


def _status(text: str | None) -> ErrorStatus:
    known: dict[str | None, ErrorStatus] = {one: one for one, _ in STATUSES}
    return known.get(text, "open")


def chart(error: ErrorBody, hours: int, now: datetime, width: int = 1) -> Chart:
    """Return how often an error happened, in bars of some hours; UTC."""
    steps = hours // width
    first = int(now.timestamp()) // (_HOUR * width) - steps + 1
    counts = [0.0] * steps
    for one in error.hours:
        place = int(one.hour.timestamp()) // (_HOUR * width) - first
        if 0 <= place < steps:
            counts[place] += one.count
    labels = tuple(
        datetime.fromtimestamp((first + place) * _HOUR * width, UTC).strftime("%b %d %H:%M")
        for place in range(steps)
    )
    return Chart("Failures (UTC)", labels, (Series("failures", "bad", tuple(counts)),))


ROUTES = (
    Shown("/errors", show),
    Shown("/errors/{error_id}", show_one),
    Done("/errors/{error_id}/replay", replay_failed),
    Done("/errors/{error_id}/{status}", mark_error),
)
