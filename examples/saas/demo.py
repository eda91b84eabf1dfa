"""The invoice export, with a worker that is killed in the middle of it.

Run it with `make demo` or `python examples/saas/demo.py`. `ROWS=50000` exports the textbook size;
`ONCE=1` ends when the checks are done, as it does without a terminal.
"""

import asyncio
import csv
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from app.exports.files import export_path
from app.exports.start import StartedExport, start_export
from app.result import Err
from app.runs import RunState, retrieve_run
from app.schema import AuditLog, Export
from app.tenant import tenant_db
from local.bringup import FOLDER, ORGANIZATION, USER, brought_up, run, stay
from local.mailbox import Mailbox
from local.show import Show
from local.stack import Stack
from scripts.seed import email_of

POLL_SECONDS = 0.05
PATIENCE = 120.0
"""Seconds without a finished page after which the demo gives up."""
LARGE, LARGEST = 1_000, 250_000
"""From so many rows on, an export has 50 pages of any size; and that size has a limit."""
PAGES_OF_LARGE = 50


class DemoError(Exception):
    """The demo cannot show what it promises; the message says why."""


@dataclass(frozen=True)
class Plan:
    """What is exported. Pages are slowed down a little, so that there is something to watch."""

    rows: int
    page_rows: int
    page_pause: float

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Plan":
        """Read `ROWS`."""
        text = environ.get("ROWS") or str(ORGANIZATION.invoices)
        if not text.isdecimal() or not 1 <= int(text) <= LARGEST:
            raise DemoError(f"ROWS must be a number from 1 to {LARGEST}, not {text!r}")
        rows = int(text)
        if rows >= LARGE:
            return cls(rows, -(-rows // PAGES_OF_LARGE), page_pause=0.1)
        return cls(rows, 25, page_pause=0.25)

    @property
    def pages(self) -> int:
        """How many pages there will be."""
        return -(-self.rows // self.page_rows)

    @property
    def kill_after(self) -> int:
        """After which page the worker dies: the second, if there is a third."""
        return min(2, self.pages - 1)


@dataclass(frozen=True)
class Story:
    """What happened: the run when its worker died, and at its end."""

    started: StartedExport
    killed: RunState
    ended: RunState

    @property
    def finished_before(self) -> list[str]:
        """The run ids of the pages that were finished when the worker died."""
        return [page.id for page in self.killed.pages if page.status == "COMPLETED"]


async def main() -> None:
    """Bring everything up, export, kill, check; on a terminal, stay up."""
    plan, show = Plan.of(os.environ), Show()
    async with brought_up(show, rows=plan.rows, page_pause=plan.page_pause) as stack:
        story = await _export(plan, show, stack)
        await _check(plan, show, story, stack.mailbox)
        if show.is_live and not os.environ.get("ONCE"):
            await stay(show, stack)


async def _export(plan: Plan, show: Show, stack: Stack) -> Story:
    """Export with two workers, of which the first is killed."""
    worker = stack.worker
    show.title("Exporting")
    started = await _start(plan)
    show.line(f"run {started.run_id}: {plan.pages} pages of {plan.page_rows} invoices")
    with show.bar(plan.pages):
        await _watch(started.run_id, show, lambda run: run.pages_done >= plan.kill_after)
        worker.kill()
        killed = await retrieve_run(started.run_id)
        show.line(f"kill -9 {worker.pid}: the worker is gone after page {killed.pages_done}", "red")
        replacement = await stack.start_worker()
        show.line(
            f"worker {replacement.pid} is up; the platform gives the lost one 5 s to come back",
            "yellow",
        )
        ended = await _watch(started.run_id, show, lambda run: run.is_completed)
    return Story(started, killed, ended)


async def _start(plan: Plan) -> StartedExport:
    answer = await start_export(USER, ORGANIZATION.id, page_rows=plan.page_rows)
    if isinstance(answer, Err):
        raise DemoError(answer.message)
    return answer.value


async def _watch(run_id: str, show: Show, until: Callable[[RunState], bool]) -> RunState:
    """Poll the run, as the inspector does, until it is as wanted. Raises `DemoError`."""
    done, since = -1, time.monotonic()
    while True:
        run = await retrieve_run(run_id)
        show.pages(run.pages_done, run.pages_total)
        if until(run):
            return run
        if run.is_completed:
            raise DemoError(f"run {run_id} ended as {run.status}: {run.error}")
        if run.pages_done != done:
            done, since = run.pages_done, time.monotonic()
        if time.monotonic() - since > PATIENCE:
            raise DemoError(
                f"run {run_id} is {run.status} and did not move for {PATIENCE:.0f} s; "
                f"see the logs in {FOLDER / 'logs'}"
            )
        await asyncio.sleep(POLL_SECONDS)


async def _check(plan: Plan, show: Show, story: Story, mailbox: Mailbox) -> None:
    """Say what must hold and whether it does. Raises `DemoError` if something does not."""
    show.title("Checking")
    faults: list[str] = []

    def must(holds: bool, text: str) -> None:
        show.verdict(holds, text)
        if not holds:
            faults.append(text)

    run_id, ended = story.started.run_id, story.ended
    again = await _start(plan)
    exported, audited = await _rows_of(run_id)
    must(
        ended.is_success and ended.id == run_id == exported,
        f"the same run ended: {run_id}, {ended.status}, attempt {ended.attempt_count}",
    )
    must(again.run_id == run_id and not again.is_new, "a second click today is the same run")

    before, after = story.finished_before, [page.id for page in ended.pages]
    must(
        len(before) >= plan.kill_after and after[: len(before)] == before,
        f"the {len(before)} pages finished before the kill were not computed again",
    )
    for number, page in enumerate(before, start=1):
        show.line(f"    page {number}  before {page}  after {after[number - 1]}", "dim")
    must(len(after) == plan.pages, f"{len(after)} page runs for {plan.pages} pages")

    path = export_path(run_id)
    must(_numbers(path) == _expected_numbers(plan.rows), f"{plan.rows:,} rows in {path}")
    mails = mailbox.mails()
    must(
        [str(mail["To"]) for mail in mails] == [email_of(USER)],
        f"{len(mails)} mail, to {', '.join(str(mail['To']) for mail in mails) or 'nobody'}",
    )
    must(audited == 1, f"{audited} audit row export.invoices.completed for the run")
    if faults:
        raise DemoError(f"{len(faults)} of the checks above failed: {'; '.join(faults)}")


async def _rows_of(run_id: str) -> tuple[str | None, int]:
    """Return the run that completed today's export, and how many audit rows it wrote."""
    async with tenant_db(ORGANIZATION.id) as session:
        exported = await session.scalar(select(Export.run_id).where(Export.status == "completed"))
        audited = await session.scalar(
            select(func.count())
            .select_from(AuditLog)
            .where(AuditLog.run_id == run_id, AuditLog.action == "export.invoices.completed")
        )
    return exported, audited or 0


def _numbers(path: Path) -> list[str]:
    """Return the invoice numbers of a finished file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [row["number"] for row in csv.DictReader(file, strict=True)]


def _expected_numbers(rows: int) -> list[str]:
    return [f"INV-{number:06d}" for number in range(1, rows + 1)]


if __name__ == "__main__":
    run("demo", main())
