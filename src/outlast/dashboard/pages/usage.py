"""Usage: what each task did by the week, and which of them does far more than usual."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from outlast.client import tasks
from outlast.dashboard.charts import Chart, Series
from outlast.dashboard.visit import Page, Shown, Visit
from outlast.protocol.activity import Spike, Tally, UsageBody

PERIODS = ((5, "5 weeks"), (13, "13 weeks"), (26, "26 weeks"))


@dataclass(frozen=True, kw_only=True)
class Line:
    """A task with this week's numbers and its weeks as bars."""

    task: str
    week: Tally
    before: float | None
    """Runs of a week in the mean, over the weeks before."""
    spark: Chart
    spike: Spike | None

    @property
    def seconds(self) -> float | None:
        """How long a run worked in the mean."""
        return self.week.seconds / self.week.runs if self.week.runs else None

    @property
    def attempts(self) -> float | None:
        """How many attempts a run took in the mean."""
        return self.week.attempts / self.week.runs if self.week.runs else None


@dataclass(frozen=True, kw_only=True)
class UsageView:
    """The weeks together, and every task."""

    weeks: int
    chart: Chart
    lines: tuple[Line, ...]
    spikes: tuple[Spike, ...]
    begun: datetime | None

    @property
    def periods(self) -> tuple[tuple[int, str], ...]:
        """How far back one can look."""
        return PERIODS


async def show(visit: Visit) -> Page:
    """Show the last weeks."""
    asked = visit.query("weeks").get("weeks", "")
    weeks = next((number for number, _ in PERIODS if str(number) == asked), PERIODS[0][0])
    found = await visit.ask(tasks.usage(weeks))
    view = UsageView(
        weeks=weeks,
        chart=_chart("Ended runs by week", found.weeks, found.data),
        lines=_lines(found),
        spikes=found.spikes,
        begun=found.weeks[-1] if found.weeks else None,
    )
    return Page("usage.html", view)


def _lines(found: UsageBody) -> tuple[Line, ...]:
    """Return every task that did something, the busiest of this week first."""
    if not found.weeks:
        return ()
    present = found.weeks[-1]
    spikes = {spike.task: spike for spike in found.spikes}
    of_tasks: dict[str, list[Tally]] = {}
    for row in found.data:
        of_tasks.setdefault(row.task, []).append(row)
    lines = []
    for task, rows in of_tasks.items():
        before = [row.runs for row in rows if row.start < present]
        week = next((row for row in rows if row.start == present), _nothing(task, present))
        lines.append(
            Line(
                task=task,
                week=week,
                before=sum(before) / len(before) if before else None,
                spark=_chart(f"{task} by week", found.weeks, rows, widest=100.0),
                spike=spikes.get(task),
            )
        )
    return tuple(sorted(lines, key=lambda line: (-line.week.runs, line.task)))


def _chart(
    title: str, weeks: Sequence[datetime], rows: Sequence[Tally], *, widest: float = 7.0
) -> Chart:
    columns = {name: [0.0] * len(weeks) for name in ("completed", "failed", "canceled")}
    places = {week: place for place, week in enumerate(weeks)}
    for row in rows:
        place = places[row.start]
        columns["completed"][place] += row.completed
        columns["failed"][place] += row.failed
        columns["canceled"][place] += row.canceled
    tones = (("completed", "good"), ("failed", "bad"), ("canceled", "idle"))
    labels = tuple(f"{week.astimezone(UTC):%b %d}" for week in weeks)
    series = tuple(Series(name, tone, tuple(columns[name])) for name, tone in tones)
    return Chart(title, labels, series, widest=widest)


def _nothing(task: str, start: datetime) -> Tally:
    return Tally(
        task=task, start=start, completed=0, failed=0, canceled=0, attempts=0, keyless=0, seconds=0
    )


ROUTES = (Shown("/usage", show),)
