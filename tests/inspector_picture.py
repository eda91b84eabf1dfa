"""Takes the picture of the example's inspector for the docs: `make screenshots`."""

import asyncio
import sys
import tempfile
from pathlib import Path

from browsing import Browser, browsing
from postgres import running_postgres
from saas import running_saas

SLOW = 1.5
"""Seconds a page takes while the lanes are photographed, so that all three run in both pictures."""


async def export(browser: Browser) -> None:
    """Export as Ada, to the end."""
    await browser.open("/inspector")
    await browser.call("click", "button.primary")
    await browser.sees("Debug controls")
    await browser.call("click", "#export")
    await browser.sees("completed", "#run-status", seconds=60)
    await browser.sees("is ready", "#mailbox")


async def photograph(folder: Path) -> None:
    """Show a finished export, and three lanes at work."""
    with running_postgres() as server, tempfile.TemporaryDirectory() as scratch:
        async with (
            running_saas(server, Path(scratch)) as saas,
            browsing(saas.stack.app_url) as browser,
        ):
            await browser.call("resize", 1280, 860)
            await export(browser)
            saas.stack.page_pause = SLOW
            await saas.replace_worker()
            await browser.call("click", "form[action='/debug/fill-lanes'] button")
            await browser.sees("are queued", ".flash")
            await browser.open("/inspector")
            running = "document.querySelectorAll('.lane[data-running=\"1\"] progress').length"
            bars = "[...document.querySelectorAll('.lane progress')]"
            moving = f"{running} === 3 && {bars}.every((bar) => bar.value)"
            for scheme in ("light", "dark"):
                await browser.call("emulate", {"colorScheme": scheme})
                async with asyncio.timeout(120):
                    while not await browser.call("evaluate", moving):
                        pass
                target = folder / f"inspector-{scheme}.png"
                await browser.call("screenshot", {"path": str(target)})


if __name__ == "__main__":
    asyncio.run(photograph(Path(sys.argv[1])))
