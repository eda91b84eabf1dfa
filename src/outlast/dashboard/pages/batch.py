"""A batch: how many of its runs were made, and the way to them. The API lists no batches."""

from dataclasses import dataclass

from outlast.client import batches
from outlast.dashboard.visit import Page, Shown, Visit
from outlast.protocol.bodies import BatchBody

SHOWN_RUNS = 100
"""Runs on the page; the list of runs has all of them."""


@dataclass(frozen=True)
class BatchView:
    """One batch."""

    batch: BatchBody

    @property
    def runs(self) -> tuple[str, ...]:
        """The first runs of it."""
        return self.batch.runs[:SHOWN_RUNS]


async def show(visit: Visit) -> Page:
    """Show a batch."""
    found = await visit.ask(batches.retrieve(visit.path("batch_id")))
    return Page("batch.html", BatchView(found), live=found.status in {"PENDING", "PROCESSING"})


ROUTES = (Shown("/batches/{batch_id}", show),)
