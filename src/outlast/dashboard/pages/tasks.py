"""Tasks: what there is to run, what it did lately, and one task with its contract."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from outlast.client import environment, runs, schedules, tasks
from outlast.dashboard.charts import Chart, Series
from outlast.dashboard.contracts import Field, fields
from outlast.dashboard.snippets import snippets
from outlast.dashboard.visit import Page, Shown, Visit, link
from outlast.protocol.activity import ErrorBody, Tally, TaskBody, TaskDetail
from outlast.protocol.bodies import ListedRun
from outlast.protocol.schedules import ScheduleBody

PAGE_SIZE = 25
PERIODS = (("1d", "24 hours"), ("7d", "7 days"), ("30d", "30 days"), ("90d", "90 days"))
_DAYS = {"1d": 1, "7d": 7, "30d": 30, "90d": 90}
_FEW = 5
_MOST_STEPS = 90


@dataclass(frozen=True, kw_only=True)
class Row:
    """A task of the list, with its last 24 hours."""

    task: TaskBody
    spark: Chart

    @property
    def runs(self) -> int:
        """How many runs ended."""
        return sum(hour.runs for hour in self.task.hours)

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return sum(hour.failed for hour in self.task.hours)


@dataclass(frozen=True, kw_only=True)
class TasksView:
    """A page of tasks."""

    rows: tuple[Row, ...]
    search: str
    has_workers: bool
    older: str | None
    newer: str | None


@dataclass(frozen=True, kw_only=True)
class TaskView:
    """One task: its contract, its past, and what belongs to it."""

    task: TaskDetail
    fields: tuple[Field, ...]
    period: str
    chart: Chart
    runs: tuple[ListedRun, ...]
    schedules: tuple[ScheduleBody, ...]
    errors: tuple[ErrorBody, ...]
    snippets: tuple[tuple[str, str], ...]

    @property
    def periods(self) -> tuple[tuple[str, str], ...]:
        """How far back one can look, and how that reads."""
        return PERIODS

    @property
    def ended(self) -> int:
        """How many runs ended in the period."""
        return sum(point.runs for point in self.task.points)

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return sum(point.failed for point in self.task.points)

    @property
    def seconds(self) -> float | None:
        """How long a run worked in the mean."""
        total = sum(point.seconds for point in self.task.points)
        return total / self.ended if self.ended else None


async def show(visit: Visit) -> Page:
    """Show the tasks of the current version."""
    asked = visit.query("page", "search")
    text = asked.get("page", "1")
    number = int(text) if text.isdecimal() and int(text) > 0 else 1
    search = asked.get("search", "")
    found = await visit.ask(tasks.list_page(number, size=PAGE_SIZE, search=search))
    workers = (await visit.ask(environment.retrieve())).workers if not found.data else ()
    now = datetime.now(UTC)
    view = TasksView(
        rows=tuple(
            Row(task=task, spark=activity(f"{task.id} by the hour", task.hours, 24, now=now))
            for task in found.data
        ),
        search=search,
        has_workers=bool(workers),
        newer=_page(number - 1, search) if number > 1 else None,
        older=_page(number + 1, search) if number < found.pagination.total_pages else None,
    )
    return Page("tasks.html", view, live=True)


async def show_one(visit: Visit) -> Page:
    """Show one task."""
    name = visit.path("task_id")
    period = visit.query("period").get("period", "1d")
    period = period if period in _DAYS else "1d"
    task = await visit.ask(tasks.retrieve(name, period=period))
    listed = await visit.ask(runs.list_page({"[taskIdentifier]": name}, size=_FEW, after=None))
    ticking = await visit.ask(schedules.list_page({"task": name}, page=1, size=_FEW))
    failing = await visit.ask(tasks.list_errors(status="open", task=name, size=_FEW))
    view = TaskView(
        task=task,
        fields=fields(task.payload_schema),
        period=period,
        chart=_chart(task, _DAYS[period]),
        runs=listed.data,
        schedules=ticking.data,
        errors=failing.data,
        snippets=snippets(task),
    )
    return Page("task.html", view, live=True)


def activity(
    title: str,
    tallies: Iterable[Tally],
    steps: int,
    *,
    now: datetime,
    step: timedelta = timedelta(hours=1),
) -> Chart:
    """Return ended runs over the last while, in bars of one step; UTC."""
    width = int(step.total_seconds())
    first = int(now.timestamp()) // width - steps + 1
    columns: dict[str, list[float]] = {
        name: [0.0] * steps for name in ("completed", "failed", "canceled")
    }
    for tally in tallies:
        place = int(tally.start.timestamp()) // width - first
        if 0 <= place < steps:
            columns["completed"][place] += tally.completed
            columns["failed"][place] += tally.failed
            columns["canceled"][place] += tally.canceled
    pattern = "%b %d" if step >= timedelta(days=1) else "%b %d %H:%M"
    labels = tuple(
        datetime.fromtimestamp((first + place) * width, UTC).strftime(pattern)
        for place in range(steps)
    )
    tones = (("completed", "good"), ("failed", "bad"), ("canceled", "idle"))
    series = tuple(Series(name, tone, tuple(columns[name])) for name, tone in tones)
    return Chart(title, labels, series)


def _chart(task: TaskDetail, days: int) -> Chart:
    step = timedelta(hours=1) if task.span == "hour" else timedelta(days=1)
    if days * timedelta(days=1) / step > _MOST_STEPS:
        step = timedelta(hours=3)
    steps = int(days * timedelta(days=1) / step)
    return activity("Ended runs (UTC)", task.points, steps, now=datetime.now(UTC), step=step)


def _page(number: int, search: str) -> str:
    return link("tasks", page=str(number), search=search)


ROUTES = (Shown("/tasks", show), Shown("/tasks/{task_id:path}", show_one))
