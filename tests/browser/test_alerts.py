"""Alerts in a browser: made, tested, changed, turned off and deleted by admins; viewers look."""

from collections.abc import Callable

import pytest

from outlast.dashboard.snippets import VERIFYING
from outlast.protocol.roles import Role
from receivers import web
from scene import Stage

PASSWORD = "correct horse battery"


async def make(stage: Stage, name: str, address: str, channel: str = "webhook") -> None:
    """Fill in and send the form of a new alert."""
    await stage.open("alerts")
    await stage.browser.call("fill", "input[name=name]", name)
    await stage.browser.call("selectOption", "select[name=channel]", channel)
    await stage.browser.call("fill", "input[name=address]", address)
    await stage.browser.call("click", "text=Make the alert")


async def log_in(stage: Stage, name: str, role: Role) -> None:
    """Be somebody."""
    await stage.api.engine.users.add(name, role, PASSWORD)
    await stage.browser.open("/")
    await stage.browser.call("fill", "input[name=name]", name)
    await stage.browser.call("fill", "input[name=password]", PASSWORD)
    await stage.browser.call("click", ".primary")
    await stage.browser.sees(name, ".person")


async def test_without_alerts_the_page_says_how_to_go_on(stage: Stage) -> None:
    await stage.open("alerts")

    await stage.browser.sees("No alerts yet", ".empty")
    assert (await stage.browser.call("text", ".empty pre")).strip() == VERIFYING
    await stage.browser.assert_clean()


async def test_a_webhook_is_made_its_secret_shown_once_and_a_test_of_it_verified(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with web() as site:
        await make(stage, "on-call", f"http://127.0.0.1:{site.port}/hooks?token=hazelnut")
        await stage.browser.sees("ALERT_SECRET=", ".made")
        await stage.browser.assert_clean()
        secret = (await stage.browser.call("text", ".made pre")).strip().partition("=")[2]
        code = await stage.browser.call("text", "[aria-label='Code that verifies a webhook']")

        await stage.open("alerts")
        page = await stage.browser.call("content")
        assert secret not in page
        assert "hazelnut" not in page
        await stage.browser.call("click", "button[aria-label='Test on-call']")
        await stage.browser.sees("the test has arrived", "[role=status]")
        [posted] = site.posted

    monkeypatch.setenv("ALERT_SECRET", secret)
    names: dict[str, Callable[[bytes, dict[str, str]], bool]] = {}
    exec(code, names)
    assert names["is_from_outlast"](posted.body, posted.headers)
    assert not names["is_from_outlast"](posted.body + b" ", posted.headers)
    assert not names["is_from_outlast"](posted.body, {})


async def test_a_test_that_does_not_arrive_says_why(stage: Stage) -> None:
    async with web() as site:
        site.status = 503
        await make(stage, "on-call", f"http://127.0.0.1:{site.port}/")

        await stage.browser.call("click", "button[aria-label='Test on-call']")

        await stage.browser.sees("the test has not arrived", ".said.bad")
        await stage.browser.sees("503", ".said.bad")


async def test_an_alert_is_changed_turned_off_and_deleted(stage: Stage) -> None:
    await stage.browser.call("scripts", False)
    await make(stage, "on-call", "https://example.com/hooks")
    await stage.browser.call("click", "a:text-is('on-call')")
    await stage.browser.call("fill", "input[name=name]", "releases")
    for kind in ("alert.run.failed", "alert.error"):
        await stage.browser.call("uncheck", f"input[value='{kind}']")
    await stage.browser.call("click", "button:text-is('Change')")
    assert "at least" in await stage.browser.call("text", "[role=alert]")

    await stage.browser.call("check", "input[value='alert.deployment.success']")
    await stage.browser.call("click", "button:text-is('Change')")
    assert "releases is changed" in await stage.browser.call("text", "[role=status]")
    assert "versions" in await stage.browser.call("text", "tbody")
    assert "failed runs" not in await stage.browser.call("text", "tbody")

    await stage.browser.call("click", "button[aria-label='Turn off releases']")
    assert "releases is off" in await stage.browser.call("text", "[role=status]")
    await stage.browser.call("click", "button[aria-label='Turn on releases']")
    assert "releases is on" in await stage.browser.call("text", "[role=status]")
    await stage.browser.call("click", "button[aria-label='Delete releases']")
    assert "is deleted" in await stage.browser.call("text", "[role=status]")

    await stage.open("audit")
    deeds = await stage.browser.call("text", "main")
    for deed in ("create", "change", "turn off", "turn on", "delete"):
        assert f"{deed} alert" in deeds
    assert "example.com" not in deeds


async def test_what_is_refused_keeps_what_was_typed_but_no_secret(stage: Stage) -> None:
    await make(stage, "on-call", "ftp://example.com/walnut")
    await stage.browser.sees("http", "[role=alert]")
    assert await stage.browser.call("inputValue", "input[name=name]") == "on-call"
    assert await stage.browser.call("inputValue", "input[name=address]") != ""

    await make(stage, "on-call", "ftp://hooks.slack.com/walnut", "slack")
    await stage.browser.sees("http", "[role=alert]")
    assert "walnut" not in await stage.browser.call("content")

    await make(stage, "on-call", "ada@example.com", "email")
    await stage.browser.sees("OUTLAST_SMTP_URL", "[role=alert]")


async def test_a_slack_alert_has_no_secret_and_shows_its_host_alone(stage: Stage) -> None:
    await make(stage, "#backend", "https://hooks.slack.com/services/walnut", "slack")

    await stage.browser.sees("#backend is made", "[role=status]")
    await stage.browser.sees("hooks.slack.com", "tbody")
    page = await stage.browser.call("content")
    assert "walnut" not in page
    assert "ALERT_SECRET=" not in page


async def test_who_only_looks_sees_alerts_and_changes_none(guarded: Stage) -> None:
    await log_in(guarded, "ada", Role.ADMIN)
    await make(guarded, "on-call", "https://example.com/hooks")
    await guarded.browser.sees("ALERT_SECRET=", ".made")
    await guarded.browser.call("forget")

    await log_in(guarded, "vera", Role.VIEWER)
    await guarded.open("alerts")

    await guarded.browser.sees("on-call", "tbody")
    forms = await guarded.browser.call("evaluate", "document.querySelectorAll('main form').length")
    assert forms == 0
    here = await guarded.browser.call(
        "evaluate", "document.querySelector('tr[data-id]').dataset.id"
    )
    assert await guarded.browser.open(f"{guarded.base}alerts/{here}") == 403
    # A form made by hand, with the proof of her own page: the role is asked for all the same.
    await guarded.open("alerts")
    status = await guarded.browser.call(
        "evaluate",
        f"fetch('alerts/{here}/delete', {{method: 'POST', body: new URLSearchParams({{csrf:"
        " document.querySelector('input[name=csrf]').value})}).then((answer) => answer.status)",
    )
    assert status == 403
    await guarded.open("alerts")
    await guarded.browser.sees("on-call", "tbody")
