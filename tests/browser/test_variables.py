"""Environment variables in a browser: names for all, values for who asks, nothing for viewers."""

from outlast.protocol.roles import Role
from scene import Stage

PASSWORD = "correct horse battery"


async def stored(stage: Stage) -> dict[str, str]:
    """Return what workers get."""
    engine = stage.api.engine
    return (await engine.variables.snapshot(stage.api.platform.environment.id)).values


async def keep(stage: Stage, secret: bool = False, **values: str) -> None:
    """Store variables without a page."""
    await stage.api.engine.variables.save(
        stage.api.platform.environment.id, values, mode="any", is_secret=secret
    )


async def html(stage: Stage) -> str:
    """Return all that the browser was given."""
    found: str = await stage.browser.call("content")
    return found


async def test_a_variable_is_made_revealed_changed_and_deleted(stage: Stage) -> None:
    await stage.open("variables")
    await stage.browser.sees("outlast env set", ".empty")
    await stage.browser.assert_clean()
    await stage.browser.call("fill", "input[name=name]", "SMTP_HOST")
    await stage.browser.call("fill", "textarea[name=value]", "smtp.example.org")
    await stage.browser.call("click", "text=Store it")
    await stage.browser.sees("SMTP_HOST is stored", "[role=status]")
    assert "smtp.example.org" not in await html(stage)

    await stage.browser.call("click", "button[aria-label='Reveal SMTP_HOST']")
    await stage.browser.sees("smtp.example.org", ".made")
    await stage.browser.assert_clean()

    await stage.browser.call("click", "a:text-is('SMTP_HOST')")
    await stage.browser.sees("New value")
    assert "smtp.example.org" not in await html(stage)
    await stage.browser.call("fill", "textarea[name=value]", "one\ntwo")
    await stage.browser.call("click", "button:text-is('Change')")
    await stage.browser.sees("SMTP_HOST is changed", "[role=status]")
    assert await stored(stage) == {"SMTP_HOST": "one\ntwo"}

    await stage.browser.call("click", "button[aria-label='Delete SMTP_HOST']")
    await stage.browser.sees("SMTP_HOST is deleted", "[role=status]")
    assert await stored(stage) == {}

    await stage.open("audit")
    for deed in ("set variable", "reveal variable", "change variable", "delete variable"):
        await stage.browser.sees(deed, "main")
    assert "smtp.example.org" not in await html(stage)


async def test_a_secret_one_is_never_revealed(stage: Stage) -> None:
    await keep(stage, secret=True, STRIPE_KEY="sk_hazelnut")

    await stage.open("variables")

    await stage.browser.sees("secret", "tbody")
    assert await stage.browser.call("isVisible", "button[aria-label='Reveal STRIPE_KEY']") is False
    await stage.open("variables/STRIPE_KEY")
    assert "sk_hazelnut" not in await html(stage)


async def test_a_pasted_file_is_imported_whole_or_not(stage: Stage) -> None:
    await keep(stage, A="old")
    await stage.browser.call("scripts", False)
    await stage.open("variables")

    await stage.browser.call("fill", "textarea[name=text]", "A=walnut\nexport B='two words'")
    await stage.browser.call("click", "text=Import")
    await stage.browser.sees("there already: A", "[role=alert]")
    assert "walnut" not in await html(stage)
    assert await stored(stage) == {"A": "old"}

    await stage.browser.call("fill", "textarea[name=text]", "A=walnut\nexport B='two words'")
    await stage.browser.call("check", "input[name=override]")
    await stage.browser.call("click", "text=Import")
    await stage.browser.sees("2 variables are stored", "[role=status]")
    assert await stored(stage) == {"A": "walnut", "B": "two words"}

    await stage.browser.call("fill", "textarea[name=text]", "A=1\npecan nut")
    await stage.browser.call("click", "text=Import")
    await stage.browser.sees("line 2", "[role=alert]")
    assert "pecan" not in await html(stage)


async def test_the_page_says_who_changed_a_variable(guarded: Stage) -> None:
    await keep(guarded, A="1", B="1")
    await guarded.api.engine.users.add("olga", Role.OPERATOR, PASSWORD)
    await guarded.browser.open("/")
    await guarded.browser.call("fill", "input[name=name]", "olga")
    await guarded.browser.call("fill", "input[name=password]", PASSWORD)
    await guarded.browser.call("click", ".primary")
    await guarded.browser.sees("olga", ".person")

    await guarded.open("variables/A")
    await guarded.browser.call("fill", "textarea[name=value]", "2")
    await guarded.browser.call("click", "button:text-is('Change')")

    await guarded.browser.sees("olga", "tr[data-id=A]")
    await guarded.browser.sees("unknown", "tr[data-id=B]")


async def test_who_only_looks_sees_names_and_changes_nothing(guarded: Stage) -> None:
    await keep(guarded, SMTP_HOST="smtp.hazelnut.example")
    await guarded.api.engine.users.add("vera", Role.VIEWER, PASSWORD)
    await guarded.browser.open("/")
    await guarded.browser.call("fill", "input[name=name]", "vera")
    await guarded.browser.call("fill", "input[name=password]", PASSWORD)
    await guarded.browser.call("click", ".primary")
    await guarded.browser.sees("vera", ".person")

    await guarded.open("variables")

    await guarded.browser.sees("SMTP_HOST", "tbody")
    shown = await html(guarded)
    assert "hazelnut" not in shown
    assert "<button>Store it" not in shown
    assert "/reveal" not in shown
    assert await guarded.browser.open(guarded.base + "variables/SMTP_HOST") == 403
    # A form made by hand, with the proof of her own page: the role is asked for all the same.
    status = await guarded.browser.call(
        "evaluate",
        "fetch('variables/SMTP_HOST/reveal', {method: 'POST', body: new URLSearchParams({csrf:"
        " document.querySelector('input[name=csrf]').value})}).then(async (answer) =>"
        " [answer.status, (await answer.text()).includes('hazelnut')])",
    )
    assert status == [403, False]
