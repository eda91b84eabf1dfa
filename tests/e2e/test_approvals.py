"""The examples that wait for people and partners, while real workers die."""

import asyncio
import json
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from fleet import Fleet, fleet
from imported import tasks_of
from outlast import aclose, tasks, wait
from outlast.protocol.statuses import Status
from outlast.protocol.waitpoints import is_callback
from outlast.testing import Platform

EXAMPLE = Path(__file__).parents[2] / "examples" / "approvals"
pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]


@pytest.fixture
async def partner(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Queue[str]]:
    """Be a partner who takes orders; gives the callback URLs he was handed."""
    orders: asyncio.Queue[str] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        orders.put_nowait(json.loads(await reader.readexactly(length))["callback"])
        writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("PARTNER_URL", f"http://127.0.0.1:{port}/render")
    async with server:
        yield orders


@pytest.fixture
async def town(
    tmp_path: Path,
    fresh_url: str,
    partner: asyncio.Queue[str],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Fleet]:
    """Give a server that this process calls as an application does; workers come and go."""
    async with fleet(tmp_path, url=fresh_url) as made:
        for file in (EXAMPLE / "trigger").glob("*.py"):
            shutil.copy(file, tmp_path / "trigger" / file.name)
        await made.server()
        monkeypatch.setenv("OUTLAST_API_URL", made.apis[0])
        monkeypatch.setenv("OUTLAST_SECRET_KEY", made.key)
        yield made
        await aclose()
        assert await made.audit() == []


async def waits(town: Fleet, run: str) -> str:
    """Wait until a run has suspended for a token; return the token."""
    async with asyncio.timeout(30):
        while True:
            rows = await town.sql(
                "select w.target from outlast.waiter w join outlast.run_state s using (run_id)"
                " where w.run_id = $1 and s.status = 'waiting'",
                run,
            )
            if rows:
                return str(rows[0]["target"])
            await asyncio.sleep(0.05)


async def decide(token: str, answer: str) -> None:
    """Decide as the README says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLE / "decide.py"), token, answer
    )
    assert await process.wait() == 0


async def replace_worker(town: Fleet) -> None:
    """Kill every worker of the town, and start another."""
    for process in town._processes[1:]:
        process.send_signal(signal.SIGKILL)
        process.wait()
    await town.worker()


def test_the_example_is_what_its_readme_says() -> None:
    text = (EXAMPLE / "README.md").read_text()

    assert all(f"`{name}`" in text for name in ("publish-post", "refund-order", "render-video"))


async def test_a_post_is_published_by_its_editor_after_the_worker_was_killed(town: Fleet) -> None:
    """The draft is written once, by the first worker."""
    await town.worker()
    handle = await tasks.trigger("publish-post", "durable tasks")
    token = await waits(town, handle.id)
    await replace_worker(town)

    waiting = [found.id async for found in wait.list_tokens(status="WAITING", tags="post")]
    await decide(token, "yes")

    assert waiting == [token]
    assert await handle.result(timeout=60) == "published: Durable Tasks"
    written = await town.sql("select key from outlast.entry where name = 'write'")
    assert len(written) == 1
    detail = await wait.retrieve_token(token)
    assert (detail.status, json.loads(detail.output or "")["approved"]) == ("COMPLETED", True)


@pytest.fixture
async def desk(testing_server: None) -> AsyncIterator[Platform]:
    """Give a platform in this process, whose days pass at once."""
    async with Platform(tasks=tasks_of((EXAMPLE / "trigger").glob("*.py")).values()) as made:
        yield made


async def test_a_large_refund_waits_for_a_colleague_and_a_small_one_does_not(
    desk: Platform,
) -> None:
    small = await tasks.trigger("refund-order", {"order": "o1", "amount": 5})
    large = await tasks.trigger("refund-order", {"order": "o2", "amount": 500})
    await desk.until_waiting(large)
    assert desk.status(small) is Status.COMPLETED
    [token] = [found.id async for found in wait.list_tokens(status="WAITING", tags="refund")]

    await decide(token, "no")

    assert (await desk.result(small)).output == "5 paid back, approved by the rules"
    assert (await desk.result(large)).output == "refused by editor"


async def test_what_nobody_decides_about_is_given_up_in_time(desk: Platform) -> None:
    """A refund after a day, a post after a week."""
    begin = desk.now
    refund = await tasks.trigger("refund-order", {"order": "o3", "amount": 500})
    post = await tasks.trigger("publish-post", "durable tasks")

    result = await desk.result(refund)
    assert "nobody decided about o3 in a day" in str(result.error)
    assert desk.now - begin == timedelta(days=1)
    assert (await desk.result(post)).output == "nobody decided within a week"
    assert desk.now - begin == timedelta(days=7)


async def test_a_partner_calls_back_after_the_worker_was_killed(
    town: Fleet, partner: asyncio.Queue[str]
) -> None:
    """The order is sent once; the address that the partner got stands in no log and no table."""
    await town.worker()
    handle = await tasks.trigger("render-video", "a cat")
    callback = await asyncio.wait_for(partner.get(), 30)
    await waits(town, handle.id)
    await replace_worker(town)

    status = await post(callback, {"video_url": "https://cdn/cat.mp4", "seconds": 3})
    again = await post(callback, {"video_url": "https://evil/dog.mp4", "seconds": 4})

    assert (status, again) == (200, 200)
    found = await handle.result(timeout=60)
    assert found == {"video_url": "https://cdn/cat.mp4", "seconds": 3.0}
    assert partner.empty()
    secret = callback.rpartition("/")[2]
    assert is_callback(callback.removeprefix(town.apis[0]))
    logs = [path.read_text(errors="replace") for path in town.root.glob("*.log")]
    rows = await town.sql("select e::text as text from outlast.entry e")
    assert all(secret not in text for text in (*logs, *(row["text"] for row in rows)))


async def post(url: str, body: object) -> int:
    """Post as the partner does; return the status."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.post(url, json=body)).status_code
