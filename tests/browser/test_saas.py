"""What the example's export promises, one by one, by the inspector in a browser.

Four exports are played once and looked at by several tests: a smooth one, one whose worker is
killed, one that meets a mail server and a database which refuse, one whose recipient gets no mail.
"""

import asyncio
import csv
import io
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

sys.path.append(str(Path(__file__).parents[2] / "examples" / "saas"))

from app.exports.files import export_path
from app.exports.reset import reset_exports
from app.queries.invoices import list_invoices
from app.runs import RunState
from app.schema import Notification
from app.tenant import tenant_db
from scripts.seed import ORGANIZATIONS, email_of, seed
from sqlalchemy import select

from browsing import Browser, browsing
from outlast import queues, runs
from saas import ACME, EMPTY, GLOBEX, INITECH, Saas, audit_rows, export_rows, running_saas

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(300),  # of the first test also for what several look at
    pytest.mark.asyncio(loop_scope="module"),
]

SECONDS = 60
TEXT = "document.querySelector('%s').innerText"
RUN = "document.querySelector('#run').dataset.run"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def saas(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Saas]:
    """Return the example with a worker that somebody starts again."""
    async with (
        running_saas(database_url, tmp_path_factory.mktemp("saas")) as running,
        running.stack.kept_alive(),
    ):
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(saas: Saas) -> AsyncIterator[Browser]:
    """Return a browser before the inspector."""
    async with browsing(saas.stack.app_url) as opened:
        yield opened


async def forget_exports(browser: Browser) -> None:
    """Reset the organization."""
    await browser.call("click", "form[action='/debug/reset'] button")
    await browser.sees("are forgotten", ".flash")
    await browser.sees("Debug controls")


async def sign_in(browser: Browser, user_id: str) -> None:
    """Come in by the front door, to an organization that has no exports of other tests."""
    await browser.call("forget")
    await browser.open("/inspector")
    await browser.call("fill", "input[name=email]", email_of(user_id))
    await browser.call("click", "button.primary")
    await browser.sees("Invoice export", "h1")
    await browser.sees("Debug controls")
    await forget_exports(browser)
    await browser.call("errors")  # what other tests' exports left, which are forgotten now


async def export(browser: Browser) -> str:
    """Click the button; return the run."""
    await browser.call("click", "#export")
    await browser.sees("run_", "#run-id")
    return str(await browser.call("evaluate", RUN))


async def read(browser: Browser, script: str) -> Any:
    """Evaluate a script; a page that is about to leave is asked again."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await browser.call("evaluate", script)
            except AssertionError:
                await asyncio.sleep(0.05)


async def watch_bar(browser: Browser) -> None:
    """Let the page itself note where its bar stands: looking from here would miss places."""
    await browser.call(
        "evaluate",
        "(() => { const bar = document.querySelector('#run-bar'); window.places = [];"
        " new MutationObserver(() => window.places.push(bar.value))"
        ".observe(bar, {attributes: true, attributeFilter: ['value']}); })()",
    )


async def places_of_bar(browser: Browser) -> list[int]:
    """Return where the bar has stood since it is watched, each place once."""
    return list(dict.fromkeys(await read(browser, "window.places")))


@dataclass(frozen=True)
class Smooth:
    """An export that nothing disturbs, and what the page showed of it."""

    run_id: str
    answer: dict[str, Any]
    rows: list[tuple[str, str | None, int | None]]
    early: dict[str, Any]
    """What the app told of the run while it worked."""
    bar: list[int]
    end: str
    audit: str
    mailbox: str
    told: dict[str, Any]
    csv: str
    run: RunState


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def smooth(saas: Saas, browser: Browser) -> Smooth:
    """Export as Ada, on a page that is clean at both widths.

    The run cannot end before it has been looked at: its mail is not answered.
    """
    await sign_in(browser, "user_ada")
    release = saas.mailbox.held[email_of("user_ada")] = asyncio.Event()
    await watch_bar(browser)
    run_id = await export(browser)
    rows = await export_rows(ACME, "user_ada")
    answer = await read(browser, "fetch('/api/exports', {method: 'POST'}).then((r) => r.json())")
    await browser.sees("of 8", "#run-pages", seconds=SECONDS)
    await browser.sees("live", "#run-how")
    early = await read(browser, f"fetch('/api/exports/{run_id}').then((r) => r.json())")
    release.set()
    await browser.sees("completed", "#run-status", seconds=SECONDS)
    bar = await places_of_bar(browser)
    await browser.sees("export.invoices.completed", "#audit")
    await browser.sees("Your invoice export is ready (200 rows)", "#mailbox")
    await browser.assert_clean()
    await browser.call("resize", 390, 844)
    await browser.assert_clean()
    assert await read(browser, "document.documentElement.scrollWidth") == 390, "it fits a phone"
    await browser.call("resize", 1280, 900)
    return Smooth(
        run_id,
        answer,
        rows,
        early,
        bar,
        end=await read(browser, TEXT % "#run-end"),
        audit=await read(browser, TEXT % "#audit"),
        mailbox=await read(browser, TEXT % "#mailbox"),
        told=await read(browser, f"fetch('/api/exports/{run_id}').then((r) => r.json())"),
        csv=await read(
            browser, "fetch(document.querySelector('#run-end a').href).then((r) => r.text())"
        ),
        run=await saas.end(run_id),
    )


@dataclass(frozen=True)
class Troubled:
    """An export that met a mail server and a database which refused, once each."""

    run_id: str
    row_meanwhile: list[tuple[str, str | None, int | None]]
    """The row of the export while its audit row could not be written."""
    row_at_end: list[tuple[str, str | None, int | None]]
    audited: list[str]
    status: str
    run: RunState


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def troubled(saas: Saas, browser: Browser) -> Troubled:
    """Export as Cleo: the mail is refused once, and the audit row until the run tries again."""
    await sign_in(browser, "user_cleo")
    saas.mailbox.refusals.append(email_of("user_cleo"))
    databases = saas.stack.databases
    role = f'"{databases.app}_app"'
    owner = await asyncpg.connect(databases.owner_url)
    try:
        await owner.execute(f"revoke insert on audit_logs from {role}")
        run_id = await export(browser)
        await saas.until(run_id, lambda run: run.attempt_count >= 2)
        meanwhile = await export_rows(GLOBEX, "user_cleo")
        await owner.execute(f"grant insert on audit_logs to {role}")
    finally:
        await owner.execute(f"grant insert on audit_logs to {role}")
        await owner.close()
    await browser.sees("completed", "#run-status", seconds=SECONDS)
    return Troubled(
        run_id,
        meanwhile,
        row_at_end=await export_rows(GLOBEX, "user_cleo"),
        audited=await audit_rows(GLOBEX, run_id),
        status=await read(browser, TEXT % "#run-attempt"),
        run=await saas.end(run_id),
    )


async def test_01_a_click_behind_the_guard_answers_with_a_run_and_leaves_a_row(
    saas: Saas, browser: Browser
) -> None:
    """Without waiting for the work: the queue is paused meanwhile."""
    await browser.call("forget")
    await browser.open("/inspector")
    assert await read(browser, "location.pathname") == "/sign-in"
    await sign_in(browser, "user_ben")

    await queues.pause("export")
    try:
        run_id = await export(browser)
        await browser.sees("queued", "#run-status")
        row = await export_rows(ACME, "user_ben")
    finally:
        await queues.resume("export")

    assert row == [("requested", run_id, None)]
    await browser.sees("completed", "#run-status", seconds=SECONDS)


async def test_02_a_second_click_of_the_day_is_the_same_run_and_no_second_row(
    smooth: Smooth, browser: Browser
) -> None:
    assert smooth.answer == {"runId": smooth.run_id, "isNew": False}
    assert [run_id for _, run_id, _ in smooth.rows] == [smooth.run_id]
    await sign_in(browser, "user_dan")

    await browser.call("click", "#double-click")

    await browser.sees("2 clicks, 1 run", "#answer")
    first = str(await read(browser, RUN))
    assert [run_id for _, run_id, _ in await export_rows(INITECH, "user_dan")] == [first]
    await browser.sees("completed", "#run-status", seconds=SECONDS)
    await browser.call("click", "#export")
    await browser.sees("today's export is this one", "#answer")
    assert len(await export_rows(INITECH, "user_dan")) == 1


async def test_03_an_empty_organization_fails_for_good_and_gets_no_mail(
    saas: Saas, browser: Browser
) -> None:
    await sign_in(browser, "user_fay")

    run_id = await export(browser)

    await browser.sees("failed", "#run-status", seconds=SECONDS)
    await browser.sees("has no invoices", "#run-end")
    await browser.sees("attempt 1", "#run-attempt")
    assert saas.mailbox.to("user_fay") == []
    assert await export_rows(EMPTY, "user_fay") == [("failed", run_id, None)]


async def test_04_every_page_is_a_child_run_one_after_the_other(
    saas: Saas, smooth: Smooth, browser: Browser
) -> None:
    pages = [await runs.retrieve(page.id) for page in smooth.run.pages]
    assert len(pages) == 8
    for before, after in pairwise(pages):
        assert before.finished_at is not None
        assert after.started_at is not None
        assert before.finished_at <= after.started_at

    await browser.call("goto", await saas.stack.dashboard_link())
    await browser.call("click", "button.primary")
    await browser.sees("export-invoices")
    listed = await read(browser, "document.querySelector('nav a[href$=\"/runs\"]').href")
    await browser.call("goto", f"{listed}/{smooth.run_id}")
    await browser.sees("paginate-page")


async def test_05_the_bar_moves_with_every_page(smooth: Smooth) -> None:
    """Pages that end together may be shown together; the bar never goes back."""
    assert smooth.bar == sorted(smooth.bar)
    assert len(smooth.bar) > 2
    assert smooth.bar[-1] == 8


async def test_06_a_run_that_is_tried_again_sends_one_mail(saas: Saas, troubled: Troubled) -> None:
    assert troubled.run.attempt_count > 1
    assert troubled.status == f"attempt {troubled.run.attempt_count}"
    assert saas.mailbox.about(troubled.run_id) == [email_of("user_cleo")]
    assert len(troubled.run.pages) == 9, "no page is read again for it"


async def test_07_row_and_audit_row_are_written_together_or_not_at_all(troubled: Troubled) -> None:
    assert troubled.row_meanwhile == [("requested", troubled.run_id, None)]
    assert troubled.row_at_end == [("completed", troubled.run_id, GLOBEX.invoices)]
    assert troubled.audited == ["export.invoices.completed"]


async def test_08_the_inspector_shows_bar_audit_row_link_and_mail(
    saas: Saas, smooth: Smooth
) -> None:
    assert smooth.bar[-1] == smooth.told["pagesTotal"] == 8
    assert f"{saas.stack.app_url}/exports/{smooth.run_id}.csv" in smooth.end
    assert "The mail with the link has been sent" in smooth.end
    assert "rows 200" in smooth.audit
    assert email_of("user_ada") in smooth.mailbox


async def test_09_the_state_of_a_run_is_read_from_the_platform(smooth: Smooth) -> None:
    assert smooth.early["status"] in ("DEQUEUED", "EXECUTING", "WAITING")
    assert (smooth.early["isCompleted"], smooth.early["pagesTotal"]) == (False, 8)
    assert smooth.told["runId"] == smooth.run_id
    assert (smooth.told["status"], smooth.told["attemptCount"]) == ("COMPLETED", 1)
    assert (smooth.told["pagesDone"], smooth.told["pagesTotal"]) == (8, 8)


async def test_10_a_killed_worker_is_followed_by_one_that_computes_no_page_again(
    saas: Saas, browser: Browser
) -> None:
    await sign_in(browser, "user_ada")
    run_id = await export(browser)
    before = [page.id for page in (await saas.end_of_pages(run_id, 2)).pages]

    await browser.call("click", "#controls .danger")
    await browser.sees("kill -9", ".flash")
    await browser.sees("completed", "#run-status", seconds=SECONDS)

    ended = await saas.end(run_id)
    assert [page.id for page in ended.pages][: len(before)] == before
    assert len(ended.pages) == 8
    assert ended.attempt_count == 1
    assert saas.mailbox.about(run_id) == [email_of("user_ada")]
    assert await audit_rows(ACME, run_id) == ["export.invoices.completed"]
    assert await saas.audit() == []


async def test_11_one_organization_is_serial_and_three_run_at_once(browser: Browser) -> None:
    await sign_in(browser, "user_ada")

    await browser.call("click", "form[action='/debug/fill-lanes'] button")

    await browser.sees("3 exports of each organization are queued", ".flash")
    running = "document.querySelectorAll('.lane[data-running=\"1\"]').length"
    async with asyncio.timeout(SECONDS):
        while await read(browser, running) != 3:
            pass
    await browser.sees_no("running", "#lanes", seconds=SECONDS)
    for known in (ACME, GLOBEX, INITECH):
        listed = runs.list(task="export-invoices", tag=f"organization:{known.id}")
        newest = [await anext(listed) for _ in range(3)]
        for after, before in pairwise(newest):
            assert before.finished_at is not None
            assert after.started_at is not None
            assert before.finished_at <= after.started_at


async def test_many_tabs_that_follow_a_run_leave_connections_for_a_download(
    browser: Browser,
) -> None:
    """A browser opens six to a server. One tab listens, the others poll, until it is theirs."""
    await sign_in(browser, "user_ben")
    finished = await export(browser)
    await browser.sees("completed", "#run-status", seconds=SECONDS)
    await browser.call("selectOption", "select[name=user_id]", "user_ada")
    await browser.sees("Ada", "header")
    await queues.pause("export")
    try:
        await export(browser)
        await browser.sees("live", "#run-how")
        for number in range(1, 8):
            await browser.call("tab", number)
            await browser.open("/inspector")
            await browser.sees("polling", "#run-how")
            await browser.sees("queued", "#run-status")

        fetched = f"fetch('/exports/{finished}.csv').then((answer) => answer.text())"
        assert str(await read(browser, fetched)).count("\r\n") == 1 + ACME.invoices
        await browser.call("tab", 0)
        await browser.open("/debug/mails")
        await browser.call("tab", 1)
        await browser.sees("live", "#run-how")
    finally:
        await browser.call("closeTabs")
        await queues.resume("export")
    await browser.open("/inspector")
    await browser.sees("completed", "#run-status", seconds=SECONDS)


async def test_12_what_is_refused_for_now_is_tried_again_and_who_is_suppressed_gets_none(
    saas: Saas, troubled: Troubled, browser: Browser
) -> None:
    """The page polls here: without server-sent events it shows the same."""
    assert not saas.mailbox.refusals, "the mail server refused once"
    assert (troubled.run.status, troubled.run.error) == ("COMPLETED", None)
    await sign_in(browser, "user_eve")
    await browser.open("/inspector?poll")
    await browser.sees("Debug controls")
    await watch_bar(browser)

    run_id = await export(browser)

    await browser.sees("polling", "#run-how")
    await browser.sees("completed", "#run-status", seconds=SECONDS)
    assert (await places_of_bar(browser))[-1] == 10
    await browser.sees(f"/exports/{run_id}.csv", "#run-end")
    await browser.sees("No mail: the address is suppressed", "#run-end")
    assert saas.mailbox.to("user_eve") == []
    assert export_path(run_id).exists()


async def test_13_the_file_is_rfc_4180_and_comes_back_as_it_was(smooth: Smooth) -> None:
    header, *rows = csv.reader(io.StringIO(smooth.csv, newline=""), strict=True)
    async with tenant_db(ACME.id) as session:
        invoices = await list_invoices(session, ACME.id, after=0, up_to=999, limit=999)

    assert header[3:5] == ["customer", "description"]
    assert [row[3:5] for row in rows] == [[one.customer, one.description] for one in invoices]
    for awkward in (",", '"', "\n"):
        assert any(awkward in cell for row in rows for cell in row), "the seed has all of them"
    assert smooth.csv.endswith("\r\n")
    assert smooth.csv.count("\r\n") == 1 + ACME.invoices


async def test_14_seeding_again_forgets_the_apps_exports_and_not_the_runs(saas: Saas) -> None:
    for known in ORGANIZATIONS:  # the keys of other tests' exports: seeding takes only their rows
        await reset_exports(known.id)
    async with saas.signed_in("user_ada") as client:
        run_id = (await client.post("/api/exports")).json()["runId"]
        await saas.end(run_id)
        await seed(saas.stack.databases.owner_url)

        assert (await client.get(f"/api/exports/{run_id}")).status_code == 404
        again = (await client.post("/api/exports")).json()
    assert (again["runId"], again["isNew"]) == (run_id, False)
    assert (await saas.end(run_id)).status == "COMPLETED"


async def test_15_a_comment_reaches_every_member_once_on_every_channel(
    saas: Saas, browser: Browser
) -> None:
    await sign_in(browser, "user_ada")

    await browser.call("fill", "form[action='/comments'] input", "Well done, all of you")
    await browser.call("click", "form[action='/comments'] button")

    await browser.sees("everybody will hear of it", ".flash")
    await browser.sees("Well done, all of you", "#inbox", seconds=SECONDS)
    [told] = [run async for run in runs.list(task="notify-org-members")]
    await saas.end(told.id)
    async with tenant_db(ACME.id) as session:
        told_in_inbox = list(await session.scalars(select(Notification.user_id)))
    assert sorted(told_in_inbox) == ["user_ada", "user_ben"]
    mails = [mail for mail in saas.mailbox.mails() if "comment.added" in str(mail["Subject"])]
    assert sorted(str(mail["To"]) for mail in mails) == [email_of("user_ada"), email_of("user_ben")]
    assert (await queues.retrieve("notifications")).concurrency_limit == 5


async def test_a_reset_allows_another_export(browser: Browser) -> None:
    await sign_in(browser, "user_dan")
    first = await export(browser)

    await forget_exports(browser)

    await browser.call("click", "#export")
    await browser.sees("started", "#answer")
    await browser.sees("run_", "#run-id")
    assert await read(browser, RUN) != first


async def test_an_identity_is_switched_and_the_old_ones_data_is_gone(browser: Browser) -> None:
    await sign_in(browser, "user_ada")

    await browser.call("selectOption", "select[name=user_id]", "user_fay")

    await browser.sees("Fay Dubois", "header")
    await browser.sees("Empty Shelf Ltd", "header")
    await browser.sees_no("Acme", "#audit")


async def test_the_mailbox_and_the_dashboard_are_one_click_away(
    smooth: Smooth, browser: Browser
) -> None:
    await sign_in(browser, "user_ada")

    await browser.call("click", "header a[href='/debug/mails']")
    await browser.sees(f"/exports/{smooth.run_id}.csv")
    await browser.assert_clean()
    await browser.call("click", "header a[href='/inspector']")
    await browser.sees("Invoice export", "h1")
    await browser.call("click", "header a[href='/debug/dashboard']")
    await browser.call("click", "button.primary")
    await browser.sees("export-invoices")
