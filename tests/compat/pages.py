"""The pages of the guides and one with every hook, in a browser, against servers that restart."""

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx

from browsing import Browser, browsing
from fleet import Fleet, Program

HERE = Path(__file__).parent
GUIDES = HERE.parents[1] / "docs" / "guides"
PATIENCE = 60.0  # s until a page shows something: a bound for a busy machine


def guide_tasks() -> str:
    """Return the tasks of the guide whose page is shown."""
    [source] = re.findall(
        r"```python\n# trigger/\w+\.py\n(.*?)```", (GUIDES / "react.md").read_text(), re.DOTALL
    )
    return str(source)


class Front:
    """The server that the pages know: stopped, and started where it was."""

    def __init__(self, made: Fleet, process: Program) -> None:
        self._made = made
        self._process = process

    async def stop(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        deadline = time.monotonic() + PATIENCE
        while self._process.poll() is None:
            assert time.monotonic() < deadline, self._made.logs()
            await asyncio.sleep(0.05)

    async def start(self) -> None:
        self._process = await self._made.server(api=self._made.apis[0])


class Pages:
    """A browser before the pages, and the servers behind them."""

    def __init__(self, made: Fleet, browser: Browser) -> None:
        self.made = made
        self.browser = browser

    async def sees(self, text: str, where: str = "body") -> None:
        await self.browser.sees(text, where, seconds=PATIENCE)

    async def click(self, selector: str) -> None:
        await self.browser.call("click", selector, {"timeout": 25_000})

    async def text(self, selector: str) -> str:
        found: str = await self.browser.call("text", selector)
        return found

    async def answer(self, run: str, verdict: str) -> None:
        """Answer a run's question through the other server."""
        async with httpx.AsyncClient(base_url=self.made.apis[1], trust_env=False) as client:
            reply = await client.post(
                f"/realtime/v1/streams/{run}/input/answers",
                json={"data": {"verdict": verdict}},
                headers={"authorization": f"Bearer {self.made.key}"},
            )
            assert reply.is_success, reply.text


async def prove(made: Fleet, version: str, front: Front) -> tuple[int, int]:
    """Go through every page; return how many parts went well, and how many did not."""
    passed = failed = 0
    async with _served(made, version) as address, browsing(address) as browser:
        pages = Pages(made, browser)
        parts: dict[str, Callable[[], Awaitable[None]]] = {
            "every hook": partial(every_hook, pages),
            "the guide of Next.js": partial(next_page, pages),
            "the guide of React": partial(react_page, pages, front),
        }
        for name, part in parts.items():
            try:
                await part()
            except AssertionError as error:
                failed += 1
                errors = json.dumps(await browser.call("errors"))
                print(f"{version}  FAIL  page  {name}  {error} {errors[-1500:]}")  # noqa: T201
            else:
                passed += 1
                print(f"{version}  ok    page  {name}", flush=True)  # noqa: T201
    return passed, failed


async def every_hook(pages: Pages) -> None:
    """See what each hook gives, live, and a token that works once work once."""
    await pages.browser.open("hooks")
    await pages.sees("42", "#useRun")
    await pages.sees("ready", "#useInputStreamSend")
    await pages.sees("WAITING - -", "#useRealtimeRun")
    await pages.click("#useInputStreamSend .one")
    await pages.sees("WAITING 1 -", "#useRealtimeRun")
    await pages.click("#useInputStreamSend .two")
    await pages.sees("COMPLETED 2 2", "#useRealtimeRun")
    await pages.sees("0,1", "#useRealtimeStream")
    await pages.sees("0,1", "#useRealtimeRunWithStreams")
    await pages.sees("mail COMPLETED;ticks WAITING", "#useRealtimeBatch")
    await pages.sees("WAITING", "#useRealtimeRunsWithTag")
    await pages.sees("open", "#useWaitToken")
    await pages.click("#useWaitToken .complete")
    await pages.sees("completed", "#useWaitToken")
    await pages.sees('COMPLETED {"approved":true}', "#approval")
    await pages.click("#useTaskTrigger .submit")
    await pages.sees("run_", "#useTaskTrigger")
    await pages.click("#useTaskTrigger .submit")
    await pages.sees("refused 422", "#useTaskTrigger")
    await pages.click("#useRealtimeTaskTrigger .submit")
    await pages.sees("WAITING", "#useRealtimeTaskTrigger")
    await pages.click("#useRealtimeTaskTriggerWithStreams .submit")
    await pages.sees("0,1", "#useRealtimeTaskTriggerWithStreams")


async def next_page(pages: Pages) -> None:
    """Show that an action triggers once however often it is called, and its page finds the run."""
    await pages.browser.open("next")
    await pages.sees("Import")
    await pages.click("#start")
    await pages.sees("run_", "#run")
    run = await pages.text("#run")
    await pages.sees("WAITING", "#status")
    await pages.browser.call("reload")
    await pages.sees(run, "#run")
    await pages.click("#start")
    await pages.sees(run, "#run")
    await pages.click("#stop")
    await pages.sees("CANCELED", "#status")


async def react_page(pages: Pages, front: Front) -> None:
    """Bring a run's progress, questions and end to a page through a reload and two restarts."""
    await pages.browser.open("react")
    await pages.sees("Import")
    await pages.click("#start")
    await pages.sees("odd one", "#question")
    await pages.sees("ada@example.com: keep", "#report")
    assert await _progress(pages) == 1
    await pages.browser.call("reload")
    await pages.sees("odd one", "#question")
    await pages.sees("ada@example.com: keep", "#report")

    await front.stop(signal.SIGTERM)
    await front.start()
    await pages.click("#question >> text=skip")
    await pages.sees("odd two", "#question")
    assert await _progress(pages) == 2
    await pages.sees("odd one: skip", "#report")

    await front.stop(signal.SIGKILL)
    run = await pages.browser.call("evaluate", "JSON.parse(sessionStorage.getItem('import')).id")
    await pages.answer(run, "keep")
    await pages.made.ended([run])
    await front.start()
    await pages.sees("3 kept", "#result")
    await pages.sees("bo@example.com: keep", "#report")
    assert await pages.text("#status") == "COMPLETED"
    assert await _progress(pages) == 4
    lines = (await pages.text("#report")).splitlines()
    assert len([line for line in lines if ":" in line]) == 4, lines

    await pages.click("#start")
    await pages.sees("used already", "[role=alert]")


async def _progress(pages: Pages) -> int:
    value: int = await pages.browser.call("evaluate", "document.querySelector('progress').value")
    return value


@asynccontextmanager
async def _served(made: Fleet, version: str) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        "node",
        "pages.mjs",
        version,
        cwd=HERE,
        env={
            **os.environ,
            "TRIGGER_API_URL": made.apis[0],
            "TRIGGER_SECRET_KEY": made.key,
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        assert line, "the pages could not be built"
        yield line.decode().strip()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
