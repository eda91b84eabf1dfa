"""Queues: how deep they are, how long their runs wait, and what holds them back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from outlast.client import queues
from outlast.dashboard.charts import Chart, Series
from outlast.dashboard.visit import Done, Moved, Page, Shown, Visit, link
from outlast.protocol.queues import QueueBody, QueueKeys, QueueMetrics, QueuePoint

PAGE_SIZE = 25
PERIODS = (("1h", "hour", 3600), ("6h", "6 hours", 21_600), ("1d", "day", 86_400),
           ("7d", "7 days", 604_800))  # fmt: skip
TABS = (("delay", "Over time"), ("keys", "Concurrency keys"))
_BARS = 60
_DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class QueuesView:
    """A page of queues."""

    queues: tuple[QueueBody, ...]
    waits: dict[str, float]
    """Seconds that the oldest waiting run has waited, by the queue's id."""
    newer: str | None
    older: str | None


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """One queue, with what its tab shows."""

    queue: QueueBody
    metrics: QueueMetrics
    tab: str
    period: str
    charts: tuple[Chart, ...]
    keys: QueueKeys | None
    following: str | None
    """The link to more keys."""

    @property
    def path(self) -> str:
        """Return where this queue is."""
        return f"queues/{self.queue.id}"

    @property
    def tabs(self) -> tuple[tuple[str, str], ...]:
        """The tabs and how they read."""
        return TABS

    @property
    def periods(self) -> tuple[tuple[str, str, int], ...]:
        """How far back one can look, and how that reads."""
        return PERIODS


async def show(visit: Visit) -> Page:
    """Show the queues by name."""
    wanted = visit.query("page").get("page", "1")
    number = int(wanted) if wanted.isdecimal() and int(wanted) > 0 else 1
    found = await visit.ask(queues.list_page(number, size=PAGE_SIZE))
    waits: dict[str, float] = {}
    for queue in found.data:
        if queue.queued:  # only those: each costs a request
            metrics = await visit.ask(queues.metrics(queue.id))
            waits[queue.id] = metrics.oldest_wait or 0.0
    view = QueuesView(
        queues=found.data,
        waits=waits,
        newer=link("queues", page=str(number - 1)) if number > 1 else None,
        older=link("queues", page=str(number + 1))
        if number < found.pagination.total_pages
        else None,
    )
    return Page("queues.html", view, live=True)


async def show_one(visit: Visit) -> Page:
    """Show one queue: its delay over time, or what each concurrency key does."""
    name = visit.path("queue_id")
    asked = visit.query("tab", "period", "after")
    period, _, seconds = next((one for one in PERIODS if one[0] == asked.get("period")), PERIODS[0])
    tab = "keys" if asked.get("tab") == "keys" else "delay"
    queue = await visit.ask(queues.retrieve(name))
    metrics = await visit.ask(queues.metrics(queue.id, period=period))
    keys = None
    if tab == "keys":
        keys = await visit.ask(queues.keys(queue.id, after=asked.get("after")))
    view = QueueView(
        queue=queue,
        metrics=metrics,
        tab=tab,
        period=period,
        charts=charts(metrics.points, seconds, datetime.now(UTC)) if tab == "delay" else (),
        keys=keys,
        following=link(f"queues/{queue.id}", tab="keys", after=keys.next)
        if keys and keys.next
        else None,
    )
    return Page("queue.html", view, live=True)


async def pause_queue(visit: Visit) -> Moved:
    """Let no run of the queue start."""
    queue = await visit.ask(queues.pause(visit.path("queue_id"), paused=True))
    return Moved(_back(visit, queue), f"{queue.name} is paused; what runs goes on")


async def resume_queue(visit: Visit) -> Moved:
    """Let the runs of the queue start again."""
    queue = await visit.ask(queues.pause(visit.path("queue_id"), paused=False))
    return Moved(_back(visit, queue), f"{queue.name} goes on")


async def override_limit(visit: Visit) -> Moved:
    """Set the limit of the queue until it is reset."""
    queue_id, limit = visit.path("queue_id"), visit.form.get("limit").strip()
    if not (limit.isascii() and limit.isdecimal()):
        return Moved(f"queues/{queue_id}", "a limit is a whole number, 0 or more", failed=True)
    queue = await visit.ask(queues.override(queue_id, int(limit)))
    return Moved(
        f"queues/{queue_id}", f"{queue.name} has a limit of {int(limit)} until it is reset"
    )


async def reset_limit(visit: Visit) -> Moved:
    """Let the declared limit count again."""
    queue = await visit.ask(queues.reset(visit.path("queue_id")))
    return Moved(f"queues/{queue.id}", f"the declared limit of {queue.name} counts again")


def charts(points: Sequence[QueuePoint], seconds: int, now: datetime) -> tuple[Chart, ...]:
    """Return delay and depth over the last while; a bar shows the worst of its minutes."""
    width = seconds // _BARS
    first = int(now.timestamp()) // width - _BARS + 1
    delays, queued, running = ([0.0] * _BARS for _ in range(3))
    for point in points:
        place = int(point.at.timestamp()) // width - first
        if 0 <= place < _BARS:
            delays[place] = max(delays[place], point.delayP95 or 0.0)
            queued[place] = max(queued[place], point.queued)
            running[place] = max(running[place], point.running)
    pattern = "%H:%M" if seconds <= _DAY else "%b %d %H:%M"
    labels = tuple(
        datetime.fromtimestamp((first + place) * width, UTC).strftime(pattern)
        for place in range(_BARS)
    )
    return (
        Chart(
            "Delay until a run starts (95th percentile, UTC)",
            labels,
            (Series("delay", "wait", tuple(delays)),),
            " s",
        ),
        Chart(
            "Depth (highest, UTC)",
            labels,
            (
                Series("running", "busy", tuple(running)),
                Series("queued", "wait", tuple(queued)),
            ),
        ),
    )


def _back(visit: Visit, queue: QueueBody) -> str:
    return "queues" if visit.form.get("back") == "list" else f"queues/{queue.id}"


ROUTES = (
    Shown("/queues", show),
    Shown("/queues/{queue_id}", show_one),
    Done("/queues/{queue_id}/pause", pause_queue),
    Done("/queues/{queue_id}/resume", resume_queue),
    Done("/queues/{queue_id}/override", override_limit),
    Done("/queues/{queue_id}/reset", reset_limit),
)
