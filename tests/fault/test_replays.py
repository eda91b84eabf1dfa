"""Runs that are replayed in real processes: hundreds of children, and code that has changed."""

import asyncio
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fleet import Fleet, Program, fleet
from polling import until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]

PARENT = """\
import os

from outlast import task

CHILDREN = 200


def note(*words: object) -> None:
    with open(os.environ["FLEET_EFFECTS"], "a") as file:
        print(*words, file=file)


@task("double")
async def double(payload: int) -> int:
    return payload * 2


@task("parent")
def parent(payload: int, ctx) -> int:
    note("entered", ctx.run.id)
    try:
        return sum(double.trigger_and_wait_sync(n).unwrap() for n in range(CHILDREN))
    finally:
        note("finally", ctx.run.id)
"""

CHANGING = """\
import os

from outlast import step, task, wait


def note(what: str) -> str:
    with open(os.environ["FLEET_EFFECTS"], "a") as file:
        print(what, file=file)
    return what


@task("changing")
async def changing(payload: int) -> str:
    first = await step("FIRST", note, "first")
    await wait.for_(seconds=8)
    second = await step("second", note, "second")
    return f"{first} {second} COMMENT"
"""


async def test_a_def_parent_of_200_children_hardly_replays(tmp_path: Path, fresh_url: str) -> None:
    """Two of them share a process: whoever waits may lose its place, but not each time."""
    async with fleet(tmp_path, PARENT, url=fresh_url) as town:
        await town.server()
        await town.worker("--processes", "1")
        runs = await town.trigger("parent", 2)

        await town.all_ended(runs, seconds=120)

        noted = Counter(map(tuple, town.noted()))
        for run in runs:
            assert 1 <= noted["entered", run] < 10
            assert noted["finally", run] == 1
        ends = await town.sql("select output from outlast.run_end where run_id = any($1)", runs)
        assert [end["output"] for end in ends] == ["39800"] * 2
        assert await town.count("select count(*) from outlast.run") == 2 * 201
        assert await town.audit() == []


@asynccontextmanager
async def code(town: Fleet, **changes: str) -> AsyncIterator[Program]:
    """Deploy the task with words replaced, and leave as a worker does that is told to.

    Words of another length: Python takes files of one second and one size for the same.
    """
    text = CHANGING
    for word, other in changes.items():
        text = text.replace(word, other)
    (town.root / "trigger" / "tasks.py").write_text(text)
    worker = await town.worker()
    yield worker
    worker.send_signal(signal.SIGTERM)
    await until(lambda: worker.poll() is not None, seconds=40, what=town.logs())


@pytest.mark.parametrize("environment", ["dev", "prod"])
async def test_a_task_changed_under_a_waiting_run_parks_it_until_it_fits(
    tmp_path: Path, fresh_url: str, environment: str
) -> None:
    """Where versions are pinned this begins when nobody offers the run's own any more."""
    async with fleet(tmp_path, CHANGING, environment, url=fresh_url) as town:
        await town.server(OUTLAST_VERSION_GRACE="0")
        async with code(town):
            [run] = await town.trigger("changing")
            await reaches(town, run, "status = 'waiting'")

        async with code(town, FIRST="another"):
            await reaches(town, run, "reason is not null")
            [parked] = await town.sql(
                "select status, attempt, reason from outlast.run_state where run_id = $1", run
            )
            assert (parked["status"], parked["attempt"]) == ("waiting", 1)
            assert re.search(
                "call 1 of the task was step:FIRST#0 when it ran before, "
                "the code now makes it step:another#0", parked["reason"],
            )  # fmt: skip

        async with code(town, COMMENT="again"):
            await town.all_ended([run])

        assert [word for (word,) in town.noted()] == ["first", "second"]
        [end] = await town.sql("select output, attempt from outlast.run_end where run_id = $1", run)
        assert tuple(end) == ('"first second again"', 1)
        [event] = await town.sql("select detail from outlast.event where kind = 'cannot replay'")
        assert "step:another#0" in event["detail"]
        assert await town.audit() == []


async def reaches(town: Fleet, run: str, condition: str) -> None:
    """Wait until a run's state is such."""
    select = f"select count(*) from outlast.run_state where run_id = $1 and {condition}"
    deadline = time.monotonic() + 60
    while not await town.count(select, run):
        assert time.monotonic() < deadline, f"never {condition}\n{town.logs()}"
        await asyncio.sleep(0.05)
