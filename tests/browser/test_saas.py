"""The example's inspector in a browser: from the click to the mail, and what breaks it."""

import asyncio
import csv
import io
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

sys.path.append(str(Path(__file__).parents[2] / "examples" / "saas"))

from app.exports.files import export_path
from app.exports.reset import reset_exports
from scripts.seed import ORGANIZATIONS, email_of, seed

from browsing import Browser, browsing
from saas import ACME, EMPTY, GLOBEX, INITECH, Saas, audit_rows, export_rows, running_saas

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(120),
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


async def export(browser: Browser) -> str:
    """Click the button; return the run."""
    await browser.call("click", "#export")
    await browser.sees("run_", "#run-id")
    return str(await browser.call("evaluate", RUN))


async def pages_shown(browser: Browser) -> set[str]:
    """Return what the page said about its progress until the run was completed."""
    shown = set()
    async with asyncio.timeout(SECONDS):
        while "completed" not in await browser.call("evaluate", TEXT % "#run-status"):
            shown.add(await browser.call("evaluate", TEXT % "#run-pages"))
    return shown


async def test_an_export_from_the_click_to_the_mail(saas: Saas, browser: Browser) -> None:
    await sign_in(browser, "user_ada")

    run_id = await export(browser)
    await browser.sees("of 8", "#run-pages", seconds=SECONDS)
    await browser.sees("live", "#run-how")
    assert len(await pages_shown(browser)) > 2

    bar = "document.querySelector('#run-bar')"
    assert await browser.call("evaluate", f"{bar}.value === {bar}.max") is True
    await browser.sees(f"{saas.stack.app_url}/exports/{run_id}.csv", "#run-end")
    await browser.sees("export.invoices.completed", "#audit")
    await browser.sees("Your invoice export is ready (200 rows)", "#mailbox")
    await browser.sees("ada@example.com", "#mailbox")
    text = await browser.call(
        "evaluate", "fetch(document.querySelector('#run-end a').href).then((r) => r.text())"
    )
    assert len(list(csv.DictReader(io.StringIO(text, newline=""), strict=True))) == ACME.invoices
    await browser.assert_clean()


async def test_a_worker_is_killed_from_the_page_and_the_export_goes_on(
    saas: Saas, browser: Browser
) -> None:
    await sign_in(browser, "user_cleo")
    run_id = await export(browser)
    await browser.sees("of 9", "#run-pages", seconds=SECONDS)
    before = [page.id for page in (await saas.end_of_pages(run_id, 2)).pages]

    await browser.call("click", "#controls .danger")
    await browser.sees("kill -9", ".flash")
    await browser.sees("completed", "#run-status", seconds=SECONDS)

    ended = await saas.end(run_id)
    assert [page.id for page in ended.pages][: len(before)] == before
    assert ended.attempt_count == 1
    assert saas.mailbox.about(run_id) == [email_of("user_cleo")]
    assert await audit_rows(GLOBEX, run_id) == ["export.invoices.completed"]


async def test_a_double_click_is_one_run_and_a_reset_allows_another(
    saas: Saas, browser: Browser
) -> None:
    await sign_in(browser, "user_dan")

    await browser.call("click", "#double-click")
    await browser.sees("2 clicks, 1 run", "#answer")
    first = str(await browser.call("evaluate", RUN))
    assert len(await export_rows(INITECH, "user_dan")) == 1
    await browser.sees("completed", "#run-status", seconds=SECONDS)
    await browser.call("click", "#export")
    await browser.sees("today's export is this one", "#answer")

    await forget_exports(browser)
    await browser.call("click", "#export")
    await browser.sees("started", "#answer")
    assert await browser.call("evaluate", RUN) != first
    await browser.sees("completed", "#run-status", seconds=SECONDS)


async def test_an_organization_without_invoices_gets_no_mail(saas: Saas, browser: Browser) -> None:
    await sign_in(browser, "user_fay")

    run_id = await export(browser)

    await browser.sees("failed", "#run-status", seconds=SECONDS)
    await browser.sees("has no invoices", "#run-end")
    await browser.sees("attempt 1", "#run-attempt")
    assert saas.mailbox.to("user_fay") == []
    assert await export_rows(EMPTY, "user_fay") == [("failed", run_id, None)]


async def test_a_suppressed_address_gets_the_file_and_no_mail_and_polling_does(
    saas: Saas, browser: Browser
) -> None:
    """Without server-sent events the page polls, and shows the same."""
    await sign_in(browser, "user_eve")
    await browser.open("/inspector?poll")
    await browser.sees("Debug controls")

    run_id = await export(browser)

    await browser.sees("polling", "#run-how")
    await browser.sees("completed", "#run-status", seconds=SECONDS)
    await browser.sees(f"/exports/{run_id}.csv", "#run-end")
    assert saas.mailbox.to("user_eve") == []
    assert export_path(run_id).exists()


async def test_three_lanes_run_at_once(saas: Saas, browser: Browser) -> None:
    await sign_in(browser, "user_ada")

    await browser.call("click", "form[action='/debug/fill-lanes'] button")

    await browser.sees("3 exports of each organization are queued", ".flash")
    running = "document.querySelectorAll('.lane[data-running=\"1\"]').length"
    async with asyncio.timeout(SECONDS):
        while await browser.call("evaluate", running) != 3:
            pass
    await browser.sees_no("running", "#lanes", seconds=SECONDS)


async def test_an_identity_is_switched_and_the_old_ones_data_is_gone(browser: Browser) -> None:
    await sign_in(browser, "user_ada")

    await browser.call("selectOption", "select[name=user_id]", "user_fay")

    await browser.sees("Fay Dubois", "header")
    await browser.sees("Empty Shelf Ltd", "header")
    await browser.sees_no("Acme", "#audit")


async def test_seeding_again_forgets_the_apps_exports_and_not_the_runs(saas: Saas) -> None:
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
