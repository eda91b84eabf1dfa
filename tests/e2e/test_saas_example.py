"""The example with real processes: whatever dies, an export ends in one file and one mail."""

import asyncio
import csv
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import func, select
from sqlalchemy.exc import ProgrammingError

sys.path.append(str(Path(__file__).parents[2] / "examples" / "saas"))

from aiosmtpd.smtp import SMTP, Envelope, Session
from app.exports.files import export_path
from app.exports.record import note_request
from app.exports.start import StartedExport, start_export
from app.queries.invoices import count_invoices, list_invoices
from app.result import Err, Ok
from app.runs import RunState, retrieve_run
from app.schema import AuditLog, Export, Invoice
from app.tenant import tenant_db
from local.mailbox import Mailbox
from local.stack import Databases, Stack
from scripts.seed import SeedOrganization, email_of, organization, seed

from outlast import tasks
from outlast.engine.audit import Audit, Finding
from outlast.engine.database import Database, DatabaseSettings

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="module"),
]

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

    async def replace_worker(self) -> None:
        """Kill the worker, as a power cut would, and start another."""
        self.stack.programs[-1].kill()
        await self.stack.start_worker()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def saas(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Saas]:
    """Return the example, seeded, with one worker. Each test exports as another user."""
    folder = tmp_path_factory.mktemp("saas")
    name = f"saas_{secrets.token_hex(4)}"
    databases = Databases(database_url, platform=f"{name}_platform", app=name)
    try:
        await databases.create()
        await seed(databases.owner_url)
        mailbox = MoodyMailbox(folder / "mail")
        async with Stack.running(
            databases, folder, mailbox=mailbox, page_pause=PAGE_PAUSE
        ) as stack:
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


async def test_a_worker_killed_after_the_first_page_computes_no_page_again(saas: Saas) -> None:
    export = await started("user_ada", ACME)

    killed = await saas.until(export.run_id, lambda run: run.pages_done >= 1)
    await saas.replace_worker()
    ended = await assert_one_whole_export(saas, export.run_id, ACME, "user_ada")

    finished = [page.id for page in killed.pages if page.status == "COMPLETED"]
    assert finished
    assert [page.id for page in ended.pages][: len(finished)] == finished
    assert len(ended.pages) == 4


async def test_a_worker_killed_at_the_last_page_still_delivers_it(saas: Saas) -> None:
    export = await started("user_cleo", GLOBEX)

    await saas.until(export.run_id, lambda run: run.pages_done == 4)
    await saas.replace_worker()

    ended = await assert_one_whole_export(saas, export.run_id, GLOBEX, "user_cleo")
    assert len(ended.pages) == 5


async def test_a_worker_killed_during_the_mail_sends_one_mail(saas: Saas) -> None:
    release = saas.mailbox.held[email_of("user_dan")] = asyncio.Event()
    export = await started("user_dan", INITECH)

    # The mail has arrived, and its sender never hears so.
    await saas.until(export.run_id, lambda _: bool(saas.mailbox.to("user_dan")))
    await saas.replace_worker()
    release.set()

    await assert_one_whole_export(saas, export.run_id, INITECH, "user_dan")
    [mail] = saas.mailbox.to("user_dan")
    assert saas.mailbox.received.count(str(mail["Message-ID"])) == 2, "sent again, stored once"


async def test_a_mail_that_is_refused_for_now_is_sent_later(saas: Saas) -> None:
    saas.mailbox.refusals.append(email_of("user_ben"))

    export = await started("user_ben", GLOBEX, page_rows=500)

    await assert_one_whole_export(saas, export.run_id, GLOBEX, "user_ben")
    assert not saas.mailbox.refusals


async def test_an_organization_without_invoices_fails_at_once_and_without_a_mail(
    saas: Saas,
) -> None:
    export = await started("user_fay", EMPTY)

    run = await saas.end(export.run_id)

    assert (run.status, run.attempt_count) == ("FAILED", 1)
    assert "has no invoices" in (run.error or "")
    assert saas.mailbox.to("user_fay") == []
    assert not export_path(export.run_id).exists()
    assert await audit_rows(EMPTY, export.run_id) == []
    assert await export_rows(EMPTY, "user_fay") == [("failed", export.run_id, None)]


async def test_a_suppressed_address_gets_no_mail_and_the_export_is_whole(saas: Saas) -> None:
    export = await started("user_eve", INITECH, page_rows=500)

    run = await saas.end(export.run_id)

    assert run.status == "COMPLETED", saas.logs()
    assert saas.mailbox.to("user_eve") == []
    assert len(numbers_in(export_path(export.run_id))) == INITECH.invoices
    assert await audit_rows(INITECH, export.run_id) == ["export.invoices.completed"]


async def test_clicks_of_one_day_are_one_export(saas: Saas) -> None:
    first, *others = await asyncio.gather(
        *(started("user_ben", ACME, page_rows=500) for _ in range(5))
    )

    assert {other.run_id for other in others} == {first.run_id}
    await assert_one_whole_export(saas, first.run_id, ACME, "user_ben")
    again = await started("user_ben", ACME, page_rows=500)
    assert (again.run_id, again.is_new) == (first.run_id, False)
    assert len(await export_rows(ACME, "user_ben")) == 1


async def test_only_members_can_export(saas: Saas) -> None:
    answer = await start_export("user_cleo", ACME.id)

    assert isinstance(answer, Err)
    assert answer.code == "forbidden"
    assert await export_rows(ACME, "user_cleo") == []


async def test_a_task_with_the_wrong_organization_reads_nothing(saas: Saas) -> None:
    stranger = UUID(int=0)
    handle = await tasks.trigger(
        "paginate-page",
        {"organization_id": str(stranger), "after": 0, "up_to": 1_000, "limit": 1_000},
    )

    run = await saas.end(handle.id)

    assert run.status == "COMPLETED", saas.logs()
    assert await handle.result(timeout=10) == {"csv": "", "rows": 0, "last_number": 0}


async def test_the_database_hides_what_the_query_forgets_to_filter(saas: Saas) -> None:
    del saas
    async with tenant_db(ACME.id) as session:
        assert await session.scalar(select(func.count()).select_from(Invoice)) == ACME.invoices
        assert (await count_invoices(session, GLOBEX.id)).rows == 0
        assert await list_invoices(session, GLOBEX.id, after=0, up_to=999, limit=999) == []
    with pytest.raises(ProgrammingError, match="row-level security"):
        async with tenant_db(ACME.id) as session:
            await note_request(
                session, organization_id=GLOBEX.id, user_id="user_ben", day="2025-01-01", key="k"
            )
