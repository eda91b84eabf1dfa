"""A replay takes the run's branches though its HTTP client starts other tasks than before.

A real client opens a connection with tasks of its own (one per address of the host) and reuses a
pooled one with none. Neither may shift what the run's own tasks are called.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from outlast.sdk.errors import RunFailed
from outlast.worker import scopes
from stage import Server, child, sleep, step

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Shape = Callable[["Web"], Awaitable[Any]]


@dataclass
class Web:
    """A client of a local server; `made` names the tasks that libraries started, by pass."""

    url: str
    client: httpx.AsyncClient | None = None
    made: list[list[str]] = field(default_factory=list)

    async def get(self) -> str:
        assert self.client is not None
        return (await self.client.get(self.url)).text

    async def forget(self) -> None:
        """Close all connections: the next request opens one."""
        if self.client is not None:
            await self.client.aclose()
        self.client = httpx.AsyncClient(trust_env=False)

    async def warm(self) -> None:
        """Have as many pooled connections as any shape below uses at once."""
        await self.forget()
        await asyncio.gather(*(self.get() for _ in range(4)))


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    """Listen on both addresses of `localhost`, so that a client tries them side by side."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    web = Web(f"http://localhost:{port}/")
    yield web
    assert web.client is not None
    await web.client.aclose()
    listening.close()


@pytest.fixture
async def server(web: Web, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    loop = asyncio.get_running_loop()
    server = Server()
    name_of = scopes.name_of

    def noted(coro: scopes.Steps) -> str:
        name = name_of(coro)
        if web.made and not name.startswith(__name__):
            web.made[-1].append(name)
        return name

    monkeypatch.setattr(scopes, "name_of", noted)
    yield server
    server.crash()
    loop.set_task_factory(None)


async def fetched(web: Web, name: str) -> str:
    """Do what tasks do: ask somebody, wait for a child, ask again."""
    await web.get()
    await child(name)
    await web.get()
    return name


async def gather(web: Web) -> list[str]:
    return list(await asyncio.gather(*(fetched(web, name) for name in "abc")))


async def group(web: Web) -> str:
    how = "whole"
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fetched(web, "a"))
            tasks.create_task(fetched(web, "b"))
            tasks.create_task(fetched(web, "c"))
    except* RunFailed as errors:
        how = type(errors.exceptions[0]).__name__
    return how


async def completed(web: Web) -> list[str]:
    seen = []
    for each in asyncio.as_completed([fetched(web, name) for name in "abc"]):
        seen.append(await each)
        await step("save", str, seen[-1])
        await web.get()
    return seen


async def race(web: Web) -> list[str]:
    tasks = [asyncio.ensure_future(fetched(web, name)) for name in "abc"]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    won = sorted(task.result() for task in done)
    await step("won", str, won[0])
    return won + sorted(await asyncio.gather(*tasks))


async def timeout(web: Web) -> str:
    await web.get()
    try:
        async with asyncio.timeout(0.2):
            return await fetched(web, "a")
    except TimeoutError:
        await web.get()
        return str(await step("fall back", str, "late"))


SHAPES: dict[str, tuple[Shape, str, str, Any]] = {
    # what is done, who ends before the kill (b! fails), who after it, and the output
    "gather": (gather, "b", "ac", list("abc")),
    "group": (group, "b!", "ac", "RunFailed"),
    "completed": (completed, "ca", "b", list("cab")),
    "race": (race, "b", "ac", list("babc")),
    "timeout": (timeout, "", "a", "late"),
}
FALLEN = ("group", "timeout")
"""Who has given up the others by then, and waits behind them."""


@pytest.mark.parametrize("then", ["cold", "pooled"])
@pytest.mark.parametrize("first", ["cold", "pooled"])
@pytest.mark.parametrize("shape", SHAPES)
async def test_connections_shift_nothing(
    server: Server, web: Web, shape: str, first: str, then: str
) -> None:
    """Whatever children have ended since, and whichever connections there are."""
    function, before, after, output = SHAPES[shape]

    async def job(ctx: Any) -> Any:
        await web.get()  # the tasks of the run come after those of the client
        result = await function(web)
        await web.get()
        await sleep()
        return result

    task = server.task(job)
    await connections(web, first)
    server.claim(task)
    await server.suspended()
    for name in before.replace("!", ""):
        server.finish(f"child:{name}#0", error="broken" if "!" in before else None)
        await server.suspended()
    if shape in FALLEN:
        await server.called("wait:for#0")
        await server.suspended()
    order = server.order()
    open_ones = [key for key, each in server.entries["run_1"].items() if each.outcome is None]
    for name in after:
        for key in open_ones:
            if key.endswith(f"child:{name}#0"):
                server.finish_cold(key, name)

    server.crash()
    await connections(web, then)
    server.claim(task, resume="cold")
    await server.suspended()
    assert server.order()[: len(order)] == order
    server.finish("wait:for#0")
    assert await server.end() == output
    assert not any(kind.name == "FAIL" for kind in server.kinds())
    keys = [call.key for call in server.calls["run_1"]]
    assert len(keys) == len(set(keys))
    live, replayed = web.made
    assert bool(live) == (first == "cold")
    assert bool(replayed) == (then == "cold")


async def connections(web: Web, how: str) -> None:
    await (web.forget() if how == "cold" else web.warm())
    web.made.append([])
