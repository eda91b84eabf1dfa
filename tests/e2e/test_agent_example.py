"""The agent goes on after its worker was killed while the model spoke, and pays no call twice."""

import asyncio
import runpy
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fleet import Fleet, fleet
from outlast import aclose, streams, tasks
from polling import until

EXAMPLE = Path(__file__).parents[2] / "examples" / "agent"
pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]

said = streams.define("said")
answers = streams.input("answers", str)


@pytest.fixture
async def model(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Give the example's fake model, served."""
    fake = runpy.run_path(str(EXAMPLE / "fake_model.py"))["FakeModel"]()
    server = await fake.serve(0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
    yield fake
    server.close()
    speaking = [each for each in asyncio.all_tasks() if "FakeModel" in repr(each.get_coro())]
    for each in speaking:
        each.cancel()
    await asyncio.gather(*speaking, return_exceptions=True)


@pytest.fixture
async def town(
    tmp_path: Path, fresh_url: str, model: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Fleet]:
    """Give a server that this process calls as an application does; workers come and go."""
    async with fleet(tmp_path, url=fresh_url) as made:
        shutil.copytree(EXAMPLE / "agent", tmp_path / "agent")
        for file in (EXAMPLE / "trigger").glob("*.py"):
            shutil.copy(file, tmp_path / "trigger" / file.name)
        await made.server()
        monkeypatch.setenv("OUTLAST_API_URL", made.apis[0])
        monkeypatch.setenv("OUTLAST_SECRET_KEY", made.key)
        yield made
        await aclose()
        assert await made.audit() == []


async def test_the_agent_goes_on_after_its_worker_was_killed_while_the_model_spoke(
    town: Fleet, model: Any
) -> None:
    """Calls that had finished are made once; the one that was cut off is made again as itself."""
    await town.worker()
    model.hold = asyncio.Event()
    heard: list[dict[str, Any]] = []
    handle = await tasks.trigger("travel-agent", "A weekend in Oslo")

    async def listen() -> None:
        async for piece in said.read(handle.id):
            heard.append(piece)  # noqa: PERF401 - looked at while it grows

    listening = asyncio.create_task(listen())
    await until(lambda: any(each["kind"] == "question" for each in heard), seconds=60)
    await answers.send(handle.id, "yes")
    async with asyncio.timeout(60):
        await model.held.wait()
    await until(lambda: any(each["turn"] == 2 for each in heard), seconds=30)

    for process in town._processes[1:]:
        process.send_signal(signal.SIGKILL)
        process.wait()
    model.hold = None
    await town.worker()
    output = await handle.result(timeout=90)
    await asyncio.wait_for(listening, 30)

    assert output == "Oslo has snow, -4 °C, and you said yes."
    assert sorted(model.begun.values()) == [1, 1, 2]
    assert sorted(model.finished.values()) == [1, 1, 1]
    children = await town.sql("select id from outlast.run where task = 'look-up-weather'")
    assert len(children) == 1
    assert sum(each["kind"] == "question" for each in heard) == 1
    spoken = [each for each in heard if each["turn"] == 2]
    calls = list(dict.fromkeys(each["call"] for each in spoken))
    texts = ["".join(each["text"] for each in spoken if each["call"] == call) for call in calls]
    assert len(calls) == 2
    assert output.startswith(texts[0])
    assert texts[1] == output


def test_the_example_is_what_its_readme_says() -> None:
    text = (EXAMPLE / "README.md").read_text()

    assert all(name in text for name in ("travel-agent", "look-up-weather", "chat.py"))
