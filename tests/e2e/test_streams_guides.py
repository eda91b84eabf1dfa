"""What the guides to streams and agents show works as it stands there, cold at every wait."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from outlast import runs, streams, tasks
from programs import Program

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

BLOCKING = """
from outlast import streams, task

words, commands = streams.define("words", str), streams.input("commands", str)


@task("blocking")
def blocking(payload: None) -> list[object]:
    words.append_sync("a")
    count = words.pipe_sync(["b", "c"])
    with words.writer() as writer:
        writer.write_sync("d")
    first = commands.wait_sync(timeout="1h").output
    seen = commands.peek_sync()
    rest = next(commands.listen_sync())
    return [count, first, seen, rest]
"""
GUIDES = Path(__file__).parents[2] / "docs" / "guides"


def blocks(name: str) -> list[str]:
    """Return the Python of a guide."""
    return re.findall(r"```python\n(.*?)```", (GUIDES / name).read_text(), re.DOTALL)


def shown(name: str) -> Callable[..., Awaitable[Any]]:
    """Return a function of an app that the guide shows."""
    [block] = [block for block in blocks("streams.md") if f"async def {name}(" in block]
    names: dict[str, Any] = {}
    exec(block, names)
    found: Callable[..., Awaitable[Any]] = names[name]
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with every task of the guides."""
    (tmp_path / "trigger").mkdir()
    (tmp_path / "pyproject.toml").write_text('[tool.outlast]\nproject = "proj_guides"\n')
    found = [block for name in ("streams.md", "agents.md") for block in blocks(name)]
    for number, block in enumerate(block for block in found if "@task" in block):
        (tmp_path / "trigger" / f"shown_{number}.py").write_text(block)
    (tmp_path / "trigger" / "blocking.py").write_text(BLOCKING)
    return tmp_path


@pytest.fixture
def dev_options() -> tuple[str, ...]:
    """Go cold at every wait."""
    return ("--replay-always",)


async def test_the_guides_to_streams_and_agents_work(app: Program) -> None:
    follow, order = shown("follow"), shown("order")
    story = await tasks.trigger("tell-story", "a boat")
    waiter = await tasks.trigger("waiter", 4, delay="1h")  # the cake must be there with the bill
    quick = await tasks.trigger("waiter", 5)
    agent = await tasks.trigger("small-agent", "boats")

    await order(waiter.id, "soup", "fish", "bill", "cake")
    await order(quick.id, "soup", "fish", "bill")
    await runs.reschedule(waiter.id, delay=0)
    await streams.input("answers", str).send(agent.id, "indeed")

    whole = ["A story of a boat.", "Once", "there", "was", "a boat", "The end."]
    assert await follow(story.id) == whole
    assert await follow(story.id, start=4) == whole[4:]
    assert await story.result(timeout=60) == 4
    assert await waiter.result(timeout=60) == ["soup", "fish", "too late: cake", "closed"]
    assert await quick.result(timeout=60) == ["soup", "fish", "closed"]
    assert await agent.result(timeout=60) == "ABOUT BOATS indeed"
    pieces = [piece["text"] async for piece in streams.define("said").read(agent.id)]
    assert pieces == ["about ", "boats "]
    assert "NonDeterministicReplayError" not in app.output


async def test_every_call_has_a_blocking_twin(app: Program) -> None:
    words, commands = streams.define("words", str), streams.input("commands", str)
    run = await tasks.trigger("blocking")

    def command() -> list[str]:
        for text in ("one", "two"):
            commands.send_sync(run.id, text)
        return list(words.read_sync(run.id))

    assert await asyncio.to_thread(command) == ["a", "b", "c", "d"]
    assert await run.result(timeout=60) == [2, "one", "two", "two"]


async def test_an_app_appends_to_a_run_and_reads_with_a_timeout(app: Program) -> None:
    words = streams.define("notes", str)
    waiter = await tasks.trigger("waiter", 4)

    await words.append("\u2028 one", target=waiter.id)
    await words.append("two", target=waiter.id)

    assert [word async for word in words.read(waiter.id, timeout=1)] == ["\u2028 one", "two"]
