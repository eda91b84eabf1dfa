"""A run: everything about it, and what can be done with it."""

from dataclasses import dataclass

from outlast.client import runs
from outlast.dashboard.visit import Done, Moved, Page, Shown, Visit
from outlast.protocol.bodies import RunDetail


@dataclass(frozen=True)
class RunView:
    """One run."""

    run: RunDetail


async def show(visit: Visit) -> Page:
    """Show a run."""
    run = await visit.ask(runs.retrieve(visit.path("run_id")))
    return Page("run.html", RunView(run), live=not run.is_completed)


async def cancel(visit: Visit) -> Moved:
    """Cancel the run and what it triggered."""
    run_id = visit.path("run_id")
    await visit.ask(runs.cancel(run_id))
    return Moved(f"runs/{run_id}", "the run is being canceled")


ROUTES = (Shown("/runs/{run_id}", show), Done("/runs/{run_id}/cancel", cancel))
