"""What the guide about a run's life shows works as it stands there, and survives kill -9."""

import asyncio
import contextlib
import os
import re
import signal
import sqlite3
from pathlib import Path

import pytest

from outlast import RunFailed, tasks
from polling import until
from programs import Program

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "lifecycle.md"

KILLED = """
import asyncio
import os
from outlast import task
from trigger.exports import say

@task("killed")
async def killed() -> str:
    say("killed: run")
    return "done"

@killed.on_success
async def first() -> None:
    say("killed: first")

@killed.on_success
async def second() -> None:
    say(f"killed: second in {os.getpid()}")
    while not os.path.exists("go"):
        await asyncio.sleep(0.02)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[tool.outlast]\nproject = "proj_life"\n')
    (tmp_path / "trigger").mkdir()
    shown = re.findall(r"```python\n# (trigger/\w+\.py)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    for name, source in [*shown, ("trigger/killed.py", KILLED)]:
        (tmp_path / name).write_text(source)
    return tmp_path


async def test_the_guide_about_a_runs_life_works(app: Program, project: Path) -> None:
    export = await tasks.trigger("export", 3)
    assert await export.result(timeout=30) == 3
    assert said(project) == [
        "start 3",
        "run 3, attempt 1",
        "cached 3 rows",
        "mail: 3 rows are ready",
        "complete, ok True",
    ]

    failing = await tasks.trigger("export", -1)
    with pytest.raises(RunFailed, match="nobody has fewer"):
        await failing.result(timeout=30)
    assert said(project)[5:] == [
        "start -1",
        "export failed: nobody has fewer than 0 rows",
        "complete, ok False",
    ]

    delayed = await tasks.trigger("export", 9, delay="1h")
    await delayed.cancel()
    await until(lambda: len(said(project)) > 8, seconds=30, what=app.output)
    assert said(project)[8:] == ["sweep 9: canceled by request"]


async def test_a_kill_between_two_hooks_counts_the_first_once(app: Program, project: Path) -> None:
    handle = await tasks.trigger("killed")
    await until(lambda: len(said(project)) >= 3, seconds=30, what=app.output)
    os.kill(int(said(project)[2].rpartition(" ")[2]), signal.SIGKILL)
    (project / "go").touch()

    async with asyncio.timeout(60):
        assert await handle.result() == "done"
    lines = [line.partition(" in ")[0] for line in said(project)]
    assert lines == ["killed: run", "killed: first", "killed: second", "killed: second"]


def said(project: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(project / "app.db")) as opened:
        return [line for (line,) in opened.execute("select line from said order by rowid")]
