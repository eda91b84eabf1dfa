"""Every page with data: in both themes, wide and on a phone, without a complaint or a barrier."""

import json

from showroom import showroom

PAGES = (
    "tasks", "tasks/export-invoices", "test/export-invoices", "test/export-invoices?form=json",
    "runs", "runs/{export}", "runs/{approval}", "runs/{failed}", "runs/{failed}/replay",
    "batches", "batches/{batch}", "schedules", "schedules/new", "queues", "waitpoints", "errors",
    "alerts", "alerts/{alert}", "usage", "versions", "workers", "variables",
    "variables/SMTP_HOST", "keys", "settings", "audit",
)  # fmt: skip
WIDER = "document.documentElement.scrollWidth - innerWidth"
SIDEWAYS = """[...document.querySelectorAll(".scroll, .tabs")]
  .filter((box) => box.checkVisibility() && box.scrollWidth > box.clientWidth + 1)
  .map((box) => box.ariaLabel ?? box.className)"""


async def test_every_page_is_clean_in_light_and_dark_and_fits_a_phone(fresh_url: str) -> None:
    async with showroom(fresh_url) as (stage, made):
        found: dict[str, object] = {}
        for page in PAGES:
            path = page.format(**made)
            await stage.browser.call("emulate", {"colorScheme": "light"})
            await stage.browser.call("resize", 1280, 900)
            await stage.open(path)
            found[f"{page}, light"] = await stage.browser.call("axe")
            await stage.browser.call("emulate", {"colorScheme": "dark"})
            found[f"{page}, dark"] = await stage.browser.call("axe")
            found[f"{page}, 1280 px, wider by"] = max(
                0, await stage.browser.call("evaluate", WIDER)
            )
            found[f"{page}, 1280 px, sideways"] = await stage.browser.call("evaluate", SIDEWAYS)
            await stage.browser.call("resize", 390, 844)
            found[f"{page}, phone, wider by"] = max(0, await stage.browser.call("evaluate", WIDER))
            found[f"{page}, phone, sideways"] = await stage.browser.call("evaluate", SIDEWAYS)
            found[f"{page}, console"] = await stage.browser.call("errors")

        faults = {name: what for name, what in found.items() if what}
        assert not faults, json.dumps(faults, indent=1)


async def test_every_page_works_without_scripts(fresh_url: str) -> None:
    async with showroom(fresh_url) as (stage, made):
        await stage.browser.call("scripts", False)
        for page in PAGES:
            await stage.open(page.format(**made))
            assert await stage.browser.call("text", "h1"), page
        await stage.open("queues")
        await stage.browser.call("click", "button[aria-label='Pause export']")
        assert "export is paused" in await stage.browser.call("text", "[role=status]")
