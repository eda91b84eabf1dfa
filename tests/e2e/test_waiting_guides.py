"""What the guides about waiting show works as it stands there, cold at every wait."""

import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from imported import tasks_of
from outlast import Task, wait
from outlast.testing import Platform

pytestmark = pytest.mark.usefixtures("testing_server")

GUIDES = Path(__file__).parents[2] / "docs" / "guides"


def blocks(name: str) -> list[str]:
    """Return the Python of a guide."""
    return re.findall(r"```python\n(.*?)```", (GUIDES / name).read_text(), re.DOTALL)


@pytest.fixture
def shown(tmp_path: Path) -> dict[str, Task[Any, Any]]:
    """Return every task of the guides, by id."""
    sources = [block for name in ("waits.md", "human-approval.md") for block in blocks(name)]
    files = []
    for number, source in enumerate(source for source in sources if "@task" in source):
        files.append(tmp_path / f"shown_{number}.py")
        files[-1].write_text(source)
    return tasks_of(files)


async def test_the_tasks_of_the_guides_wait_as_they_say(shown: dict[str, Task[Any, Any]]) -> None:
    async with Platform(tasks=shown.values()) as env:
        remind = await shown["remind"].trigger("Ada")
        patient = [await shown["patient"].trigger(seconds) for seconds in (0, 60)]
        launch = [await shown["after-launch"].trigger(name) for name in "ab"]
        publish = await shown["publish"].trigger("a post")
        await env.settle()
        await env.kill_worker()

        await approval()(await open_token())

        assert (await env.result(publish)).output == "published"
        assert (await env.result(remind)).output == ["a word to Ada", "last call for Ada"]
        assert [(await env.result(run)).output for run in patient] == ["waited", "too long"]
        assert [(await env.result(run)).output for run in launch] == ["a", "b"]


async def test_three_years_pass_and_every_worker_dies(shown: dict[str, Task[Any, Any]]) -> None:
    async with Platform(tasks=shown.values(), start=datetime(2028, 1, 1, tzinfo=UTC)) as env:
        run = await shown["onboard"].trigger("Ada")
        for duration in ("1d", "1h30m", "1094d"):
            await env.until_waiting(run)
            await env.kill_worker()
            await env.advance(duration)

        await env.until_waiting(run)
        assert (await env.result(run)).output == "Ada is an old friend"
        assert env.now == datetime(2031, 1, 1, tzinfo=UTC)


async def test_nobody_answers_for_a_week(shown: dict[str, Task[Any, Any]]) -> None:
    async with Platform(tasks=shown.values()) as env:
        result = await env.run(shown["publish"], "a post")

        assert "WaitpointTimeoutError" in str(result.error)


def approval() -> Callable[[str], Awaitable[None]]:
    """Return the function of the guide that completes a token."""
    [block] = [block for block in blocks("human-approval.md") if "async def approve" in block]
    names: dict[str, Callable[[str], Awaitable[None]]] = {}
    exec(block, names)
    return names["approve"]


async def open_token() -> str:
    """Return the one token that somebody has to decide about."""
    [token] = [found async for found in wait.list_tokens(status="WAITING", tags="approval")]
    assert token.url.startswith("http://")
    assert json.loads(token.model_dump_json())["status"] == "WAITING"
    return token.id
