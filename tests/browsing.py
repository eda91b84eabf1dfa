"""A headless Chromium that tests drive from Python, see browser/driver.mjs."""

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "browser"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


class Browser:
    """One tab at a time. Methods of Playwright's page are called by `call`."""

    def __init__(self, process: asyncio.subprocess.Process, base: str) -> None:
        self._process = process
        self._count = 0
        self.base = base

    async def call(self, name: str, *args: object) -> Any:
        """Call a method of the page, or one of the driver's own."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._count += 1
        command = {"id": self._count, "call": name, "args": args}
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        answer: dict[str, Any] = {}
        async with asyncio.timeout(60):
            while answer.get("id") != self._count:  # else of a call that nobody waits for any more
                line = await self._process.stdout.readline()
                assert line, f"{name}{args}: the driver has ended"
                answer = json.loads(line)
        assert "error" not in answer, f"{name}{args}: {answer['error']}"
        return answer["value"]

    async def open(self, path: str) -> int:
        """Open a page; return its status."""
        status: int = await self.call("goto", self.base + path)
        return status

    async def sees(self, text: str, where: str = "body", *, seconds: float = 10) -> None:
        """Wait until a part of the page says something."""
        await self._reads(text, where, seconds, wanted=True)

    async def sees_no(self, text: str, where: str = "body", *, seconds: float = 10) -> None:
        """Wait until a part of the page says something no more."""
        await self._reads(text, where, seconds, wanted=False)

    async def becomes(self, script: str, *, seconds: float = 10) -> None:
        """Wait until a script of the test is true; the page's policy forbids it to wait itself."""
        deadline = time.monotonic() + seconds
        while not await self.call("evaluate", script):
            assert time.monotonic() < deadline, f"{script} did not become true"
            await asyncio.sleep(0.05)

    async def _reads(self, text: str, where: str, seconds: float, *, wanted: bool) -> None:
        script = f"document.querySelector({json.dumps(where)})?.innerText ?? ''"
        deadline = time.monotonic() + seconds
        shown = ""
        while time.monotonic() < deadline:
            with suppress(AssertionError):  # a page that is about to leave answers nothing
                shown = await self.call("evaluate", script)
                if (text in shown) is wanted:
                    return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{where}: {text!r} is {'not ' if wanted else ''}there:\n{shown}")

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            await self.call("press", key)

    async def assert_clean(self) -> None:
        """Check that nothing complained, and that axe finds no barrier."""
        for kind in ("errors", "axe"):
            found = await self.call(kind)
            assert not found, f"{kind}: {json.dumps(found, indent=1)}"


@asynccontextmanager
async def browsing(base: str) -> AsyncIterator[Browser]:
    """Give a browser with a profile of its own."""
    _install()
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    assert chromium, "the tests of the dashboard need Chromium: apt install chromium"
    with tempfile.TemporaryDirectory(prefix="outlast-chromium-") as profile:
        process = await asyncio.create_subprocess_exec(
            "node",
            str(HERE / "driver.mjs"),
            chromium,
            profile,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**24,
        )
        try:
            yield Browser(process, base)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


def _install() -> None:
    """Install what package-lock.json names, once."""
    stamp = HERE / "node_modules" / ".package-lock.json"
    lock = HERE / "package-lock.json"
    if stamp.exists() and stamp.stat().st_mtime >= lock.stat().st_mtime:
        return
    subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=HERE,
        check=True,
        capture_output=True,
    )
