"""Batches: the list of them, and one with its runs as they stand."""

from dataclasses import dataclass

from outlast.client import batches, runs
from outlast.dashboard.visit import Page, Shown, Visit, link
from outlast.protocol.bodies import BatchBody, ListedBatch, ListedRun

PAGE_SIZE = 25
SHOWN_RUNS = 25
"""Runs on the page; the list of runs has all of them."""
_MAKING = frozenset({"PENDING", "PROCESSING"})


@dataclass(frozen=True, kw_only=True)
class BatchesView:
    """A page of batches."""

    batches: tuple[ListedBatch, ...]
    newest: str | None
    older: str | None


@dataclass(frozen=True)
class BatchView:
    """One batch with the last of its runs."""

    batch: BatchBody
    runs: tuple[ListedRun, ...]


async def show(visit: Visit) -> Page:
    """Show the newest batches."""
    after = visit.query("after").get("after")
    found = await visit.ask(batches.list_page(size=PAGE_SIZE, after=after))
    older = found.pagination.next
    view = BatchesView(
        batches=found.data,
        newest="batches" if after else None,
        older=link("batches", after=older) if older else None,
    )
    return Page("batches.html", view, live=after is None)


async def show_one(visit: Visit) -> Page:
    """Show a batch."""
    batch_id = visit.path("batch_id")
    found = await visit.ask(batches.retrieve(batch_id))
    listed = await visit.ask(runs.list_page({"[batch]": batch_id}, size=SHOWN_RUNS, after=None))
    is_live = found.status in _MAKING or not all(run.is_completed for run in listed.data)
    return Page("batch.html", BatchView(found, listed.data), live=is_live)


ROUTES = (Shown("/batches", show), Shown("/batches/{batch_id}", show_one))
