"""What a run says survives the SIGKILL of its process, and is said once however often it dies."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleet import Fleet, fleet
from polling import until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]

TASKS = '''\
import asyncio
import logging
import os
import pathlib
import signal
import sys

from outlast import Retry, logger, metadata, step, tags, task

ROOT = pathlib.Path(os.environ["FLEET_EFFECTS"]).parent
log = logging.getLogger("shop")


def kill(name: str, pid: int) -> None:
    """Kill a process, the first time that this is reached."""
    try:
        (ROOT / name).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(pid, signal.SIGKILL)
    while True:  # without its worker this process ends in a moment
        pass


async def side(n: int) -> None:
    print(f"side {n}")
    metadata.increment("sides")
    await step("aside", str, n)
    print(f"side {n} over")


@task("told")
async def told(payload: int, ctx) -> int:
    print("begin")
    tags.add("told")
    for n in range(6):
        metadata.increment("rounds").append("seen", n)
        with logger.trace(f"round {n}", {"n": n}):
            logger.info(f"at {n}", {"n": n})
            await step(f"work {n}", work, n)
            print(f"half of {n}", file=sys.stderr)
            if payload and n % 2:
                kill(f"{ctx.run.id}-{n}", os.getpid() if n == 1 else os.getppid())
            await asyncio.gather(side(n), side(n + 10))
        log.warning("after %d", n)
        metadata.increment("rounds", 0.5)
    return n


def work(n: int) -> int:
    print(f"working {n}")
    metadata.increment("worked")
    return n


@task("told-plainly")
def told_plainly(payload: int, ctx) -> int:
    from outlast import step_sync

    for n in range(4):
        print(f"line {n}")
        metadata.increment("lines")
        step_sync(f"work {n}", work, n)
        print(f"line {n} over")
    return n


@task("dies", retry=Retry(max_attempts=1))
def dies(payload: int, ctx) -> None:
    print("first words")
    metadata.set("a", 1).flush_sync()
    print("last words")
    os.kill(os.getpid(), signal.SIGKILL)


@task("floods")
async def floods(payload: int, ctx) -> None:
    for n in range(10_500):
        print(f"line {n}")


@task("quiet")
async def quiet(payload: int, ctx) -> int:
    print("calm")
    return await step("one", int, payload)
'''


@pytest.fixture
async def town(tmp_path: Path, fresh_url: str) -> AsyncIterator[Fleet]:
    async with fleet(tmp_path, url=fresh_url) as made:
        (made.root / "trigger" / "telling.py").write_text(TASKS)
        await made.server()
        await made.worker()
        yield made


async def said(town: Fleet, run: str) -> list[tuple[str, ...]]:
    rows = await town.sql(
        "select scope, ordinal, level, kind, message, coalesce(attributes, '') as attributes "
        "from outlast.log where run_id = $1 order by 1, 2",
        run,
    )
    return [tuple(map(str, row.values())) for row in rows]


async def metadata(town: Fleet, run: str) -> object:
    [row] = await town.sql("select value::text from outlast.metadata where run_id = $1", run)
    return json.loads(row[0])


async def test_a_run_killed_three_times_says_what_one_says_that_was_not(town: Fleet) -> None:
    [other, killed] = await town.trigger("told", 2)
    for n in (3, 5):
        died = town.root / f"{killed}-{n}"
        await until(died.exists, seconds=30, what=f"kill {n}\n{town.logs()}")
        await town.worker()
    await town.all_ended([other, killed])
    [calm] = await town.trigger("told", 1)
    await town.all_ended([calm])

    assert sum(1 for _ in town.root.glob(f"{killed}-*")) == 3
    assert await said(town, killed) == await said(town, calm)
    expected = {"rounds": 9.0, "seen": [0, 1, 2, 3, 4, 5], "sides": 12, "worked": 6}
    assert await said(town, other) == await said(town, calm)
    for run in (killed, other, calm):
        assert await metadata(town, run) == expected
    messages = [line[4] for line in await said(town, killed)]
    assert messages.count("working 3") == 1
    assert messages.count("half of 3") == 1
    assert await town.audit() == []


async def test_the_last_words_before_a_sigkill_are_there(town: Fleet) -> None:
    [run] = await town.trigger("dies", 1)
    await until_ended(town, run)

    assert [line[4] for line in await said(town, run)] == ["first words", "last words"]
    assert await metadata(town, run) == {"a": 1}


async def test_a_def_run_tells_its_lines_in_order(town: Fleet) -> None:
    [run] = await town.trigger("told-plainly", 1)
    await town.all_ended([run])

    rows = await town.sql("select message from outlast.log where run_id = $1 order by number", run)
    assert [row[0] for row in rows] == [
        text for n in range(4) for text in (f"line {n}", f"working {n}", f"line {n} over")
    ]
    assert await metadata(town, run) == {"lines": 4, "worked": 4}


async def test_a_flood_of_lines_is_cut_with_a_mark_and_stalls_nobody(town: Fleet) -> None:
    flood = await town.trigger("floods", 1)
    calm = await town.trigger("quiet", 20)
    await town.all_ended([*flood, *calm])

    rows = await town.sql(
        "select message from outlast.log where run_id = $1 order by number", flood[0]
    )
    assert len(rows) == 10_001
    lines = [message for (message,) in rows if message.startswith("line ")]
    assert lines == [f"line {number}" for number in range(len(lines))]
    assert len(lines) > 9_900  # that the machine was slow may be a line of the run as well
    assert rows[10_000][0].startswith("further lines are dropped: a run keeps 10,000 lines")
    count = "select count(*) from outlast.log where message = 'calm'"
    assert await town.count(count) == len(calm)


async def until_ended(town: Fleet, run: str) -> None:
    for _ in range(600):
        if await town.count("select count(*) from outlast.run_end where run_id = $1", run):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(town.logs())
