"""The example's export with real processes: whatever dies, it ends in one file and one mail."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import func, select
from sqlalchemy.exc import ProgrammingError

sys.path.append(str(Path(__file__).parents[2] / "examples" / "saas"))

from app.exports.files import export_path
from app.exports.record import note_request
from app.exports.start import start_export
from app.queries.invoices import count_invoices, list_invoices
from app.result import Err
from app.schema import Invoice
from app.tenant import tenant_db
from scripts.seed import email_of

from outlast import tasks
from saas import (
    ACME,
    EMPTY,
    GLOBEX,
    INITECH,
    Saas,
    assert_one_whole_export,
    audit_rows,
    export_rows,
    numbers_in,
    running_saas,
    started,
)

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def saas(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Saas]:
    """Return the example, seeded, with one worker. Each test exports as another user."""
    async with running_saas(database_url, tmp_path_factory.mktemp("saas")) as running:
        yield running


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
