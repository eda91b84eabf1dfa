"""Attempts in real processes: too long, too large, killed in the middle of a block."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from fleet import Fleet, fleet
from outlast.protocol.outcomes import RunError
from polling import until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]

TASKS = '''\
"""Tasks that end in every way but well."""

import asyncio
import os
import time

from outlast import Retry, retry, task

EFFECTS = os.environ["FLEET_EFFECTS"]


def note(*words: object) -> None:
    with open(EFFECTS, "a") as file:
        print(*words, file=file)


@task("patient", max_duration="5s")
async def patient(payload: int, ctx) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        note("finally", "patient")


@task("sleeper", max_duration="5s")
def sleeper(payload: int, ctx) -> None:
    try:
        time.sleep(600)
    finally:
        note("finally", "sleeper")


@task("looper", max_duration="5s", threads=True)
def looper(payload: int, ctx) -> None:
    try:
        while True:
            time.sleep(0.01)
    finally:
        note("finally", "looper")


@task("deaf", max_duration="5s", threads=True)
def deaf(payload: int, ctx) -> None:
    time.sleep(600)


@task("busy")
def busy(payload: int, ctx) -> str:
    return work("busy", ctx)


@task("busy-thread", threads=True)
def busy_thread(payload: int, ctx) -> str:
    return work("busy-thread", ctx)


def work(name: str, ctx) -> str:
    note(name, ctx.attempt.number)
    while not os.path.exists(EFFECTS + ".go"):
        time.sleep(0.05)
    return "fine"


@task("stubborn", max_duration="5s")
async def stubborn(payload: int, ctx) -> None:
    while True:
        try:
            await asyncio.sleep(600)
        except BaseException:
            note("ignored", "stubborn")


@task("neighbour")
async def neighbour(payload: int, ctx) -> str:
    note("neighbour", ctx.attempt.number)
    while not os.path.exists(EFFECTS + ".go"):
        await asyncio.sleep(0.05)
    return "fine"


@task("hungry", machine="micro", retry=Retry(out_of_memory="small-2x", min_timeout=0.01))
def hungry(payload: int, ctx) -> str:
    note("machine", ctx.attempt.number, ctx.run.id)
    held = bytearray(400 * 1024 * 1024)
    for at in range(0, len(held), 4096):
        held[at] = 1
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:  # long enough to be measured
        time.sleep(0.05)
    return "fed"


@task("block")
async def block(payload: int, ctx) -> str:
    def flaky() -> str:
        note("try")
        if not os.path.exists(EFFECTS + ".open"):
            raise OSError("closed")
        return "done"

    done = await retry.on_throw(flaky, Retry(max_attempts=50, min_timeout=0.3, factor=1))
    note("passed")
    while not os.path.exists(EFFECTS + ".go"):
        await asyncio.sleep(0.05)
    return done
'''


@pytest.fixture
async def town(tmp_path: Path, fresh_url: str) -> AsyncIterator[Fleet]:
    async with fleet(tmp_path, url=fresh_url) as made:
        (tmp_path / "trigger" / "attempts.py").write_text(TASKS)
        (tmp_path / "pyproject.toml").write_text("[tool.outlast.retries]\nenabled_in_dev = true\n")
        await made.server()
        await made.worker()
        yield made


async def end(town: Fleet, run: str) -> tuple[str, RunError | None]:
    """Wait for the end of a run; return its status and error."""
    select = "select status, error from outlast.run_end where run_id = $1"
    rows = await town.sql(select, run)
    async with asyncio.timeout(60):
        while not rows:
            await asyncio.sleep(0.1)
            rows = await town.sql(select, run)
    error = rows[0]["error"]
    return rows[0]["status"], error and msgspec.json.decode(error, type=RunError)


@pytest.mark.parametrize("task", ["patient", "sleeper", "looper"])
async def test_a_run_that_works_too_long_cleans_up_and_is_not_retried(
    town: Fleet, task: str
) -> None:
    [run] = await town.trigger(task, 1)
    status, error = await end(town, run)

    assert status == "timed_out"
    assert error is not None
    assert error.type == "MaxDurationExceeded"
    assert f"in {task}" in error.line
    assert ["finally", task] in town.noted()
    assert await town.count("select max(attempt) from outlast.run_state") == 1
    assert await town.audit() == []


@pytest.mark.parametrize("task", ["stubborn", "deaf"])
async def test_a_run_that_will_not_end_is_killed_and_its_neighbours_lose_no_attempt(
    town: Fleet, task: str
) -> None:
    [other] = await town.trigger("neighbour", 1)
    await until(lambda: ["neighbour", "1"] in town.noted(), seconds=20, what="the neighbour")
    [run] = await town.trigger(task, 1)

    status, error = await end(town, run)
    allow(town, "go")

    assert status == "timed_out"
    assert error is not None
    assert "its process was ended" in error.message
    assert task == "deaf" or ["ignored", "stubborn"] in town.noted()
    assert await end(town, other) == ("completed", None)
    assert await town.count("select max(attempt) from outlast.run_state") == 1
    assert await town.audit() == []


async def test_a_worker_told_to_stop_hands_back_what_does_not_end_and_no_attempt_counts(
    tmp_path: Path, fresh_url: str
) -> None:
    async with fleet(tmp_path, url=fresh_url) as town:
        (tmp_path / "trigger" / "attempts.py").write_text(TASKS)
        await town.server()
        worker = await town.worker("--drain", "0.2")
        names = ("busy", "busy-thread", "neighbour")
        runs = [run for name in names for run in await town.trigger(name, 1)]
        begun = [[name, "1"] for name in names]
        await until(
            lambda: all(each in town.noted() for each in begun), seconds=30, what="all to begin"
        )

        worker.terminate()
        assert await asyncio.to_thread(worker.wait, 30) == 0
        assert town.executors() == []

        await town.worker()
        await until(
            lambda: all(town.noted().count(each) == 2 for each in begun),
            seconds=30,
            what="all to begin again",
        )
        allow(town, "go")
        for run in runs:
            assert await end(town, run) == ("completed", None)
        assert await town.count("select max(attempt) from outlast.run_state") == 1
        assert await town.audit() == []


async def test_what_lacks_memory_goes_on_on_a_larger_machine(town: Fleet) -> None:
    [run] = await town.trigger("hungry", 1)

    assert await end(town, run) == ("completed", None)

    [row] = await town.sql("select attempt, machine from outlast.run_state where run_id = $1", run)
    assert tuple(row) == (2, "small-2x")
    [event] = await town.sql(
        "select detail from outlast.event where run_id = $1 and kind = 'attempt failed'", run
    )
    failed = msgspec.json.decode(event["detail"], type=RunError)
    assert (failed.kind, failed.type) == ("out_of_memory", "OutOfMemory")
    assert "machine micro" in failed.message
    assert await town.audit() == []


async def test_a_block_is_not_done_again_after_a_kill(town: Fleet) -> None:
    [run] = await town.trigger("block", 1)
    await until(lambda: town.noted().count(["try"]) >= 2, seconds=30, what="two tries")
    kill(town)
    allow(town, "open")
    await until(lambda: ["passed"] in town.noted(), seconds=30, what="the block to pass")
    tries = town.noted().count(["try"])
    kill(town)
    await until(lambda: town.noted().count(["passed"]) == 2, seconds=30, what="the replay")
    allow(town, "go")

    assert await end(town, run) == ("completed", None)
    assert town.noted().count(["try"]) == tries
    assert await town.audit() == []


def allow(town: Fleet, what: str) -> None:
    Path(f"{town.effects}.{what}").touch()


def kill(town: Fleet) -> None:
    for pid in town.executors():
        os.kill(pid, signal.SIGKILL)
