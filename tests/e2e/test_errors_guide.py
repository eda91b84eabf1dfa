"""What the guide about errors and retries shows works as it stands there."""

import re
from pathlib import Path

import pytest

from outlast import RunFailed, RunTimedOut, runs, tasks
from programs import Program, run_outlast

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "errors-and-retries.md").read_text()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with every task and the settings of the guide."""
    (tmp_path / "trigger").mkdir()
    [settings] = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "pyproject.toml").write_text(f'[tool.outlast]\nproject = "proj_e"\n{settings}')
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)):
        (tmp_path / "trigger" / f"shown_{number}.py").write_text(block)
    return tmp_path


async def test_the_guide_about_errors_works(app: Program, project: Path) -> None:
    charge = await tasks.trigger("charge", 3)
    assert await charge.result(timeout=30) == "charged in attempt 2"
    [failed] = (await runs.retrieve(charge.id)).failed_attempts or ()
    assert (failed.number, failed.error.kind) == (1, "raised")
    assert failed.error.line == "trigger/shown_0.py:9 in charge"
    await app.says("the bank is busy (attempt 1, trigger/shown_0.py:9 in charge); attempt 2 in ")
    _, shown = await run_outlast("runs", "get", charge.id, cwd=project)
    assert "attempt 1 failed" in shown
    assert "ConnectionError: the bank is busy (raised, trigger/shown_0.py:9" in shown

    aborted = await tasks.trigger("charge", -1)
    with pytest.raises(RunFailed, match="a negative amount") as raised:
        await aborted.result(timeout=30)
    assert raised.value.type == "AbortTaskRunError"

    ordered = await tasks.trigger("order", "bread")
    with pytest.raises(RunFailed, match="ordered in vain: bread"):
        await ordered.result(timeout=30)
    assert (await runs.retrieve(ordered.id)).attempt_count == 1

    search = await tasks.trigger("search", "key")
    assert await search.result(timeout=30) == {"found": "key"}
    follow = await tasks.trigger("follow", 0)
    assert await follow.result(timeout=30) == 4
    assert (await runs.retrieve(follow.id)).generation == 3
    await app.says("begins again")
    crawl = await tasks.trigger("crawl", "home")
    assert await crawl.result(timeout=30) == "home after 3 tries"

    slow = await tasks.trigger("slow", "x")
    with pytest.raises(RunTimedOut, match="max_duration of 5 s"):
        await slow.result(timeout=30)
    detail = await runs.retrieve(slow.id)
    assert detail.metadata == {"cleaned": True}
    await app.says("(timed_out, attempt 1, ")


async def test_the_http_example_asks_again(app: Program) -> None:
    """Of a server that is `outlast dev` itself."""
    address = re.search(r"http://127\.0\.0\.1:\d+", app.output)
    assert address is not None
    ping = await tasks.trigger("ping", f"{address[0]}/healthz")
    assert await ping.result(timeout=30) == 200
