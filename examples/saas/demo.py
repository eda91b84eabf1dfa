"""The invoice export, with a worker that is killed in the middle of it.

Run it with `make demo` or `python examples/saas/demo.py`. `ROWS=50000` exports the textbook size;
`ONCE=1` ends when the checks are done, as it does without a terminal.
"""

import asyncio
import csv
import fcntl
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from outlast.engine.embedded import embedded
from sqlalchemy import func, select

from app.exports.files import export_path
from app.exports.start import StartedExport, start_export
from app.result import Err
from app.runs import RunState, retrieve_run
from app.schema import AuditLog, Export
from app.tenant import tenant_db
from local.mailbox import Mailbox
from local.processes import Program
from local.show import Show
from local.stack import Databases, Stack
from scripts.seed import PASSWORD, email_of, organization, seed

FOLDER = Path(__file__).resolve().parent / ".outlast"
ORGANIZATION = organization("org_acme")
USER = "user_ada"
PORT = 3000
"""Where the app is, unless something else is there."""
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
    mailbox = Mailbox(FOLDER / "demo-mail")
    async with AsyncExitStack() as onward:
        onward.enter_context(_alone())
        show.title("Starting")
        with show.working("PostgreSQL"):
            server_url = await onward.enter_async_context(_postgres())
        databases = Databases(server_url, platform="outlast_demo", app="saas")
        with show.working(f"schema and seed, {plan.rows:,} invoices for {ORGANIZATION.slug}"):
            await databases.create()
            await seed(databases.owner_url, rows=plan.rows)
            mailbox.empty()
        with show.working("server, mailbox and worker"):
            stack = Stack(databases, FOLDER, mailbox, page_pause=plan.page_pause)
            await onward.enter_async_context(stack.running(port=PORT))
            worker = await stack.start_worker()
        story = await _export(plan, show, stack, worker)
        await _check(plan, show, story, mailbox)
        if show.is_live and not os.environ.get("ONCE"):
            await _stay(show, stack, mailbox)


async def _export(plan: Plan, show: Show, stack: Stack, worker: Program) -> Story:
    """Export with two workers, of which the first is killed."""
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


async def _stay(show: Show, stack: Stack, mailbox: Mailbox) -> None:
    """Leave everything running until Ctrl-C, which is a good end here."""
    show.title("Running until Ctrl-C")
    show.line(f"inspector {stack.app_url}", "bold")
    show.line(f"          sign in as {email_of(USER)} with “{PASSWORD}”")
    show.line(f"platform  {stack.api_url}")
    show.line(f"mailbox   {stack.smtp_url}, mails in {mailbox.folder}")
    show.line(f"exports   {FOLDER / 'exports'}")
    show.line(f"logs      {FOLDER / 'logs'}")
    async with stack.kept_alive():
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


@contextmanager
def _alone() -> Iterator[None]:
    """Keep a second demo out: it would take the databases away. The lock dies with the process."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError("another demo runs here; stop it first") from None
        yield


@asynccontextmanager
async def _postgres() -> AsyncIterator[str]:
    """Give the URL of the server in `OUTLAST_DATABASE_URL`, or of one that we start."""
    if given := os.environ.get("OUTLAST_DATABASE_URL"):
        yield given
        return
    async with embedded(FOLDER) as url:
        yield url


async def _until_ended() -> None:
    """Run the demo; SIGTERM or a closed terminal end it, with its processes, as Ctrl-C does."""
    task = asyncio.ensure_future(main())
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await task


if __name__ == "__main__":
    try:
        asyncio.run(_until_ended())
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("demo: stopped before its end", file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - whatever it is, the demo has failed and says why
        print(f"demo: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
