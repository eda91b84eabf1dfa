"""The tasks that the benchmarks run: as little work as there can be."""

import os
import time
from pathlib import Path

from outlast import ScheduledPayload, schedules, step, task, wait

_STARTS = os.environ.get("BENCH_STARTS", "")


@task("noop")
async def noop(payload: int) -> int:
    return payload


@task("noop-def")
def noop_def(payload: int) -> int:
    return payload


@task("tell-start")
async def tell_start(payload: float) -> None:
    """Write down how long the trigger took to get here."""
    _write(f"{time.time() - payload}\n")


@task("steps")
async def steps(payload: int) -> int:
    for number in range(payload):
        await step(f"step-{number}", _nothing)
    return payload


@task("fan-out")
async def fan_out(payload: int) -> float:
    """Return seconds from the first child's trigger until all have answered."""
    began = time.perf_counter()
    await noop.batch_trigger_and_wait(list(range(payload)))
    return time.perf_counter() - began


@task("wait")
async def wait_long(payload: float) -> None:
    await wait.for_(seconds=payload)


@task("sleeper-at-once")
async def sleeper_at_once() -> None:
    await wait.for_(days=1)


@task("sleeper-spread")
async def sleeper_spread() -> None:
    await wait.for_(days=1)


@schedules.task("tick")
async def tick(payload: ScheduledPayload) -> str:
    return payload.schedule_id


def _nothing() -> None:
    return None


def _write(line: str) -> None:
    with Path(_STARTS).open("a", encoding="ascii") as file:
        file.write(line)
