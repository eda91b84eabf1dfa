"""The reference of the API at /docs: without a barrier, wide and on a phone."""

import json

import httpx
import pytest

from scene import Stage

WIDER = "document.documentElement.scrollWidth - innerWidth"
UNFOLD = "document.querySelectorAll('{}').forEach((one) => {{ one.open = true }})"
FIRST = "section > details:first-of-type"  # of each kind: axe takes minutes for all of them


@pytest.mark.timeout(180)  # a long page: axe looks at each of its operations
async def test_the_reference_has_no_barrier_and_fits_a_phone(stage: Stage) -> None:
    browser, found = stage.browser, {}
    async with httpx.AsyncClient(base_url=browser.base, timeout=60) as client:
        await client.get("/docs")  # written at its first use: a browser has less patience
    for width, theme in ((1280, "light"), (390, "dark")):
        await browser.call("emulate", {"colorScheme": theme})
        await browser.call("resize", width, 900)
        assert await browser.open("/docs") == 200
        await browser.call("evaluate", UNFOLD.format(FIRST))
        found[f"{width} px, axe"] = await browser.call("axe")
        await browser.call("evaluate", UNFOLD.format("details"))
        found[f"{width} px, wider by"] = max(0, await browser.call("evaluate", WIDER))
        found[f"{width} px, console"] = await browser.call("errors")

    faults = {name: what for name, what in found.items() if what}
    assert not faults, json.dumps(faults, indent=1)
