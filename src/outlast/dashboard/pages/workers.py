"""Workers: who is connected, how much of each is in use, and what its processes are like."""

from dataclasses import dataclass

from outlast.client import environment
from outlast.dashboard.visit import Page, Shown, Visit
from outlast.protocol.bodies import WorkerBody


@dataclass(frozen=True)
class WorkersView:
    """The workers of the environment."""

    workers: tuple[WorkerBody, ...]
    current: str | None


async def show(visit: Visit) -> Page:
    """Show who works here."""
    found = await visit.ask(environment.retrieve())
    return Page("workers.html", WorkersView(found.workers, found.version), live=True)


ROUTES = (Shown("/workers", show),)
