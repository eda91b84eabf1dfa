"""The SaaS example with real processes, and what its tests ask of it."""

import asyncio
import csv
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from pathlib import Path

import httpx
from sqlalchemy import select

sys.path.append(str(Path(__file__).parents[1] / "examples" / "saas"))

from aiosmtpd.smtp import SMTP, Envelope, Session
from app.exports.files import export_path
from app.exports.start import StartedExport, start_export
from app.result import Ok
from app.runs import RunState, retrieve_run
from app.schema import AuditLog, Export
from app.tenant import tenant_db
from local.mailbox import Mailbox
from local.stack import Databases, Stack
from scripts.seed import PASSWORD, SeedOrganization, email_of, organization, seed

from outlast.engine.audit import Audit, Finding
from outlast.engine.database import Database, DatabaseSettings

PATIENCE = 60.0
PAGE_PAUSE = 0.2
ACME, GLOBEX = organization("org_acme"), organization("org_globex")
INITECH, EMPTY = organization("org_initech"), organization("org_empty")


@dataclass(frozen=True)
class MoodyMailbox(Mailbox):
    """A mailbox that can hold its answer back, or refuse a mail for now."""

    refusals: list[str] = field(default_factory=list)
    """Addresses to whom the next mail is refused, with a code that means "later"."""
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    """Addresses whose next mail is stored but not answered until the event is set."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        [to] = envelope.rcpt_tos
        if to in self.refusals:
            self.refusals.remove(to)
            return "451 try again later"
        answer = await super().handle_DATA(server, session, envelope)
        if (release := self.held.pop(to, None)) is not None:
            await release.wait()
        return answer

    def to(self, user_id: str) -> list[EmailMessage]:
        return [mail for mail in self.mails() if mail["To"] == email_of(user_id)]

    def about(self, run_id: str) -> list[str]:
        """Return to whom the result of a run was sent."""
        bodies = ((mail["To"], mail.get_body(("plain",))) for mail in self.mails())
        return [str(to) for to, body in bodies if body and f"{run_id}.csv" in body.get_content()]


@dataclass(frozen=True)
class Saas:
    """A running example and its mailbox."""

    stack: Stack
    mailbox: MoodyMailbox

    async def until(self, run_id: str, holds: Callable[[RunState], bool]) -> RunState:
        """Poll the run until something holds, or the time is over."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            run = await retrieve_run(run_id)
            if holds(run):
                return run
            await asyncio.sleep(0.02)
        raise AssertionError(f"it never came true for {run}\n{self.logs()}")

    async def end(self, run_id: str) -> RunState:
        return await self.until(run_id, lambda run: run.is_completed)

    async def end_of_pages(self, run_id: str, count: int) -> RunState:
        """Wait until so many pages are finished; return the run with those alone."""
        run = await self.until(run_id, lambda run: run.pages_done >= count)
        done = tuple(page for page in run.pages if page.status == "COMPLETED")
        return replace(run, pages=done)

    def logs(self) -> str:
        return "\n".join(
            f"{program.name} {program.pid}:\n{program.last_lines()}"
            for program in self.stack.programs
        )

    async def audit(self) -> list[Finding]:
        """Return what the platform's own invariants find wrong."""
        settings = DatabaseSettings(url=self.stack.databases.platform_url, pool_size=1)
        async with await Database.open(settings) as database:
            return await Audit(database).run_once()

    @asynccontextmanager
    async def signed_in(self, user_id: str) -> AsyncIterator[httpx.AsyncClient]:
        """Give a client that has signed in; redirects are not followed."""
        async with httpx.AsyncClient(base_url=self.stack.app_url, timeout=30) as client:
            form = {"email": email_of(user_id), "password": PASSWORD}
            assert (await client.post("/sign-in", data=form)).status_code == 303
            yield client

    async def replace_worker(self) -> None:
        """Kill the worker, as a power cut would, and start another."""
        self.stack.programs[-1].kill()
        await self.stack.start_worker()


@asynccontextmanager
async def running_saas(
    database_url: str, folder: Path, *, more: tuple[SeedOrganization, ...] = ()
) -> AsyncIterator[Saas]:
    """Give the example, seeded, with one worker."""
    name = f"saas_{secrets.token_hex(4)}"
    databases = Databases(database_url, platform=f"{name}_platform", app=name)
    try:
        await databases.create()
        await seed(databases.owner_url, more=more)
        mailbox = MoodyMailbox(folder / "mail")
        stack = Stack(databases, folder, mailbox, page_pause=PAGE_PAUSE)
        async with stack.running():
            await stack.start_worker()
            yield Saas(stack, mailbox)
    finally:
        await databases.drop()


async def started(user_id: str, of: SeedOrganization, *, page_rows: int = 50) -> StartedExport:
    answer = await start_export(user_id, of.id, page_rows=page_rows)
    assert isinstance(answer, Ok), answer
    return answer.value


async def audit_rows(of: SeedOrganization, run_id: str) -> list[str]:
    async with tenant_db(of.id) as session:
        found = select(AuditLog.action).where(AuditLog.run_id == run_id)
        return list(await session.scalars(found))


async def export_rows(
    of: SeedOrganization, user_id: str
) -> list[tuple[str, str | None, int | None]]:
    async with tenant_db(of.id) as session:
        rows = await session.scalars(select(Export).where(Export.requested_by == user_id))
        return [(row.status, row.run_id, row.row_count) for row in rows]


def numbers_in(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row["number"] for row in csv.DictReader(file, strict=True)]


async def assert_one_whole_export(
    saas: Saas, run_id: str, of: SeedOrganization, user_id: str
) -> RunState:
    """Wait for the end, and check what must be there once and what must be there whole."""
    run = await saas.end(run_id)

    assert (run.status, run.error) == ("COMPLETED", None), saas.logs()
    assert run.attempt_count == 1, "a lost worker costs no attempt"
    expected = [f"INV-{number:06d}" for number in range(1, of.invoices + 1)]
    assert numbers_in(export_path(run_id)) == expected
    assert saas.mailbox.about(run_id) == [email_of(user_id)]
    assert await audit_rows(of, run_id) == ["export.invoices.completed"]
    assert await export_rows(of, user_id) == [("completed", run_id, of.invoices)]
    assert await saas.audit() == []
    return run
