"""What the guides about waiting show works as it stands there, cold at every wait."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from outlast import aclose, runs, tasks, wait
from programs import Program, outlast

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

GUIDES = Path(__file__).parents[2] / "docs" / "guides"


def blocks(name: str) -> list[str]:
    """Return the Python of a guide."""
    return re.findall(r"```python\n(.*?)```", (GUIDES / name).read_text(), re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with every task of the guides."""
    (tmp_path / "trigger").mkdir()
    (tmp_path / "pyproject.toml").write_text('[tool.outlast]\nproject = "proj_guides"\n')
    shown = [block for name in ("waits.md", "human-approval.md") for block in blocks(name)]
    for number, block in enumerate(block for block in shown if "@task" in block):
        (tmp_path / "trigger" / f"shown_{number}.py").write_text(block)
    return tmp_path


@pytest.fixture
def dev(project: Path, fresh_url: str) -> Iterator[Program]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with outlast(
        "dev", "--port", port, "--replay-always", cwd=project, OUTLAST_DATABASE_URL=fresh_url
    ) as program:
        yield program


@pytest.fixture
async def app(
    project: Path, dev: Program, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Program]:
    await dev.says("Waiting for tasks")
    for name in ("OUTLAST", "TRIGGER"):
        for rest in ("API_URL", "SECRET_KEY"):
            monkeypatch.delenv(f"{name}_{rest}", raising=False)
    monkeypatch.chdir(project)
    yield dev
    await aclose()


async def test_the_guides_about_waiting_work(app: Program) -> None:
    onboard = await tasks.trigger("onboard", "Ada")
    remind = await tasks.trigger("remind", "Ada")
    patient = [await tasks.trigger("patient", seconds) for seconds in (0, 60)]
    launch = [await tasks.trigger("after-launch", name) for name in "ab"]
    publish = await tasks.trigger("publish", "a post")

    approve = approval()
    await approve(await open_token())

    assert await remind.result(timeout=60) == ["a word to Ada", "last call for Ada"]
    assert [await handle.result(timeout=60) for handle in patient] == ["waited", "too long"]
    assert [await handle.result(timeout=60) for handle in launch] == ["a", "b"]
    assert await publish.result(timeout=60) == "published"
    detail = await runs.retrieve(onboard.id)
    assert (detail.status, detail.reason) == ("WAITING", "waits for wait:for#0")
    assert "NonDeterministicReplayError" not in app.output


def approval() -> Callable[[str], Awaitable[None]]:
    """Return the function of the guide that completes a token."""
    [block] = [block for block in blocks("human-approval.md") if "async def approve" in block]
    names: dict[str, Callable[[str], Awaitable[None]]] = {}
    exec(block, names)
    return names["approve"]


async def open_token() -> str:
    async with asyncio.timeout(30):
        while True:
            async for token in wait.list_tokens(status="WAITING", tags="approval", period="1h"):
                assert token.url.startswith("http://")
                assert json.loads(token.model_dump_json())["status"] == "WAITING"
                return token.id
            await asyncio.sleep(0.1)
