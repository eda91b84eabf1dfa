"""The state of a run, read from the platform: what a progress bar and the inspector show."""

from dataclasses import dataclass

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


async def retrieve_run(run_id: str) -> RunState:
    """Return the state of a run. Raises `NotFoundError`, or `TransportError` without an answer."""
    run = await runs.retrieve(run_id)
    progress = run.metadata or {}
    done, total = progress.get("pagesDone"), progress.get("pagesTotal")
    children = sorted(run.related_runs.children or (), key=lambda child: child.id)  # by time
    return RunState(
        id=run.id,
        status=run.status,
        is_completed=run.is_completed,
        is_success=run.is_success,
        attempt_count=run.attempt_count,
        pages_done=done if isinstance(done, int) else 0,
        pages_total=total if isinstance(total, int) else None,
        pages=tuple(
            PageRun(child.id, child.status)
            for child in children
            if child.task_identifier == "paginate-page"
        ),
        error=run.error.message if run.error else None,
    )
