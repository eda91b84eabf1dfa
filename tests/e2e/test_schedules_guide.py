"""What the guide about schedules shows works: declared by `outlast dev`, made by an app, fired."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from outlast import runs, schedules
from outlast.protocol.bodies import RunDetail
from outlast.protocol.schedules import ScheduleBody
from programs import Program

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "schedules.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with every task of the guide."""
    (tmp_path / "trigger").mkdir()
    (tmp_path / "pyproject.toml").write_text('[tool.outlast]\nproject = "proj_guides"\n')
    for number, block in enumerate(BLOCKS):
        (tmp_path / "trigger" / f"shown_{number}.py").write_text(block)
    return tmp_path


def function(name: str) -> Callable[..., Awaitable[str]]:
    """Return a plain function of the guide."""
    [block] = [block for block in BLOCKS if f"def {name}" in block]
    scope: dict[str, Callable[..., Awaitable[str]]] = {}
    plain = block[block.index(f"async def {name}") :]
    exec(compile(f"from outlast import schedules\n{plain}", str(GUIDE), "exec"), scope)
    return scope[name]


async def test_the_guide_about_schedules_works(app: Program, fresh_url: str) -> None:
    """Two that were due an hour ago fire once each, with what the payload promises."""
    set_digest_time = function("set_digest_time")
    made = await set_digest_time("org_1", 7, "Europe/Berlin")
    assert await set_digest_time("org_1", 8, "Europe/Berlin") == made
    nightly = await declared("nightly-cleanup")
    assert (nightly.type, nightly.timezone) == ("DECLARATIVE", "UTC")

    connection = await asyncpg.connect(fresh_url)
    await connection.execute(
        "update outlast.schedule set next_at = next_at - interval '1 day', due_at = now()"
        " where id = any ($1)",
        [made, nightly.id],
    )
    digest = await ended("send-digest")
    cleanup = await ended("nightly-cleanup")

    assert digest.output == "digest for org_1"
    assert str(cleanup.output).startswith("cleaned for 20")
    count = await connection.fetchval(
        "select count(*) from outlast.run where schedule_id is not null"
    )
    await connection.close()
    assert count == 2
    assert [one.id async for one in schedules.list(external_id="org_1")] == [made]
    assert (await schedules.deactivate(made)).active is False


async def declared(task: str) -> ScheduleBody:
    """Return a declared schedule once it is there."""
    while True:
        async for one in schedules.list(task=task):
            return one


async def ended(task: str) -> RunDetail:
    """Return the one run of a task once it has completed."""
    while True:
        async for run in runs.list(task=task, status="COMPLETED"):
            return await runs.retrieve(run.id)
