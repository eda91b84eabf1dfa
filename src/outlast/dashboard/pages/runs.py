"""Runs: the list of them, by every filter of the API, and what is done with many at once."""

from dataclasses import dataclass
from datetime import UTC, datetime

from outlast.client import replays, runs
from outlast.dashboard.visit import Done, Moved, Page, Shown, Visit, link
from outlast.protocol.bodies import ListedRun
from outlast.protocol.statuses import NAMES

PAGE_SIZE = 25
STATUSES = tuple(dict.fromkeys(names.api for names in NAMES.values()))
PERIODS = (("1h", "1 hour"), ("1d", "24 hours"), ("7d", "7 days"), ("30d", "30 days"))

_FILTERS = {
    "status": "[status]",
    "task": "[taskIdentifier]",
    "tag": "[tag]",
    "queue": "[queue]",
    "version": "[version]",
    "machine": "[machine]",
    "batch": "[batch]",
    "schedule": "[schedule]",
    "error": "[error]",
    "replay": "[replayOf]",
    "bulk": "[bulkAction]",
    "parent": "[parent]",
    "root": "[rootOnly]",
    "test": "[isTest]",
    "period": "[createdAt][period]",
    "from": "[createdAt][from]",
    "to": "[createdAt][to]",
}
"""The names in the URL of the page, and those of the API."""

_MOMENTS = ("from", "to")


@dataclass(frozen=True)
class RunsView:
    """A page of runs."""

    runs: tuple[ListedRun, ...]
    filters: dict[str, str]
    """What the URL asks for, by its names."""
    first_task: str | None
    older: str | None
    newer: str | None

    @property
    def statuses(self) -> tuple[str, ...]:
        """The statuses that can be asked for."""
        return STATUSES

    @property
    def periods(self) -> tuple[tuple[str, str], ...]:
        """How far back one can look, and how that reads."""
        return PERIODS

    @property
    def chosen(self) -> tuple[str, ...]:
        """The statuses asked for."""
        return tuple(self.filters.get("status", "").split(","))

    @property
    def rare(self) -> bool:
        """Whether a filter is in use that is folded away otherwise."""
        return bool(self.filters.keys() - {"status", "task", "tag", "period"})


async def show(visit: Visit) -> Page:
    """Show the newest runs of those that the URL asks for."""
    filters = visit.query(*_FILTERS)
    cursors = visit.query("after", "before")
    found = await visit.ask(
        runs.list_page(
            {_FILTERS[name]: _on_the_wire(name, value) for name, value in filters.items()},
            size=PAGE_SIZE,
            after=cursors.get("after"),
            before=cursors.get("before"),
        )
    )
    pages = found.pagination
    return Page(
        "runs.html",
        RunsView(
            runs=found.data,
            filters=filters,
            first_task=filters.get("task"),
            older=link("runs", **filters, after=pages.next) if pages.next else None,
            newer=link("runs", **filters, before=pages.previous) if pages.previous else None,
        ),
        live=not cursors,
    )


async def bulk_action(visit: Visit) -> Moved:
    """Cancel or replay the runs that are checked, in the background."""
    action = "replay" if visit.form.get("action") == "replay" else "cancel"
    chosen = visit.form.every("run")
    back = visit.form.get("back")
    target = f"runs?{back}" if back else "runs"
    if not chosen:
        return Moved(target, "no run is selected; check the boxes first", failed=True)
    begun = await visit.ask(replays.begin_bulk(action, filters=None, run_ids=chosen, name=None))
    word = "run" if len(chosen) == 1 else "runs"
    doing = "canceling" if action == "cancel" else "replaying"
    return Moved(target, f"{doing} {len(chosen)} {word} ({begun.id})")


def _on_the_wire(name: str, value: str) -> str:
    """Return a filter as the API takes it: a moment is milliseconds there."""
    if name not in _MOMENTS or value.isdigit():
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value  # the API says what is wrong with it
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return str(int(aware.timestamp() * 1000))


ROUTES = (Shown("/runs", show), Done("/runs", bulk_action))
