"""The reference of the API: for everybody, in both themes, wide and on a phone."""

import json

from scene import Stage

WIDER = "document.documentElement.scrollWidth - innerWidth"
OPEN = "document.querySelectorAll('details.route').forEach((one) => { one.open = true; })"
IS_OPEN = "document.getElementById('runs_retrieve').closest('details').open"


async def test_the_reference_needs_no_login_and_is_clean_at_every_width(guarded: Stage) -> None:
    browser = guarded.browser
    found: dict[str, object] = {}
    for scheme in ("light", "dark"):
        await browser.call("emulate", {"colorScheme": scheme})
        for width, height in ((1280, 900), (390, 844)):
            await browser.call("resize", width, height)
            assert await browser.open("/docs") == 200
            await browser.sees("HTTP API", "h1")
            found[f"{scheme} {width}, closed"] = await browser.call("axe")
            await browser.call("evaluate", OPEN)
            found[f"{scheme} {width}, wider by"] = max(0, await browser.call("evaluate", WIDER))
    found["dark, open"] = await browser.call("axe")
    found["console"] = await browser.call("errors")

    faults = {name: what for name, what in found.items() if what}
    assert not faults, json.dumps(faults, indent=1)


async def test_an_address_leads_to_its_route_also_without_scripts(guarded: Stage) -> None:
    browser = guarded.browser
    await browser.call("scripts", False)

    await browser.open("/docs#runs_retrieve")

    await browser.sees("/api/v3/runs/{run_id}", "main")
    assert await browser.call("text", "#runs_retrieve h3") == "Parameters"
