"""The state of a run, read from the platform: what a progress bar and the inspector show."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from outlast import runs


@dataclass(frozen=True, slots=True)
class PageRun:
    """The child run of one page."""

    id: str
    status: str


@dataclass(frozen=True, slots=True)
class RunState:
    """One run of the export. The counts are what the task wrote to its metadata."""

    id: str
    status: str
    is_completed: bool
    is_success: bool
    attempt_count: int
    pages_done: int
    pages_total: int | None
    pages: tuple[PageRun, ...]
    """First page first; the platform names the hundred newest children."""
    error: str | None
    mailed: bool | None
    """Whether the mail was sent; None until the end."""


@dataclass(frozen=True, slots=True)
class ListedRun:
    """One of an organization's exports, as a list shows it."""

    id: str
    has_begun: bool
    is_completed: bool
    pages_done: int
    pages_total: int | None


async def retrieve_run(run_id: str) -> RunState:
    """Return the state of a run. Raises `NotFoundError`, or `TransportError` without an answer."""
    run = await runs.retrieve(run_id)
    done, total = _progress(run.metadata)
    mailed = run.output.get("mailed") if isinstance(run.output, dict) else None
    children = sorted(run.related_runs.children or (), key=lambda child: child.id)  # by time
    return RunState(
        id=run.id,
        status=run.status,
        is_completed=run.is_completed,
        is_success=run.is_success,
        attempt_count=run.attempt_count,
        pages_done=done,
        pages_total=total,
        pages=tuple(
            PageRun(child.id, child.status)
            for child in children
            if child.task_identifier == "paginate-page"
        ),
        error=run.error.message if run.error else None,
        mailed=mailed if isinstance(mailed, bool) else None,
    )


async def list_runs(organization_id: UUID, *, limit: int = 20) -> list[ListedRun]:
    """Return an organization's newest exports, newest first: the tag is what finds them."""
    newest = await anext(
        runs.pages(size=limit, task="export-invoices", tag=f"organization:{organization_id}")
    )
    return [
        ListedRun(run.id, run.started_at is not None, run.is_completed, *_progress(run.metadata))
        for run in newest.data
    ]


def _progress(metadata: Mapping[str, object] | None) -> tuple[int, int | None]:
    done, total = ((metadata or {}).get(name) for name in ("pagesDone", "pagesTotal"))
    return done if isinstance(done, int) else 0, total if isinstance(total, int) else None
