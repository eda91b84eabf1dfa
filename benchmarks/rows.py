"""The workloads, each a question with one number for an answer."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

from benchmarks import crowd, history, meter
from benchmarks.stage import Stage
from outlast import BatchItem, tasks
from outlast.engine.database import Database, DatabaseSettings
from outlast.engine.retention import Retention

_IN_FLIGHT = 64
_BATCH = 1_000
_LONG_SECONDS = 180.0
_PORTION = 10_000
_PORTIONS = 5


class Figure(NamedTuple):
    """What one repetition gave, and over how many runs or steps."""

    value: float
    items: int
    note: str = ""


async def w1a(stage: Stage, count: int = 20_000, task: str = "noop") -> Figure:
    """Return runs per second, triggered one `await` at a time with 64 in flight."""
    target = await stage.ended() + count
    began = time.perf_counter()
    await _in_flight(count, lambda number: tasks.trigger(task, number))
    await stage.until_ended(target)
    return Figure(count / (time.perf_counter() - began), count)


async def w1a_def(stage: Stage) -> Figure:
    """Return what W1a gives with a `def` task: one run at a time per process."""
    return await w1a(stage, 5_000, "noop-def")


async def w1a_aged(stage: Stage) -> Figure:
    """Return what W1a gives for three minutes on tables aged by a million finished runs."""
    await stage.execute(history.FINISHED, stage.finished)
    ended, rates = 0, []
    until = time.perf_counter() + _LONG_SECONDS
    while time.perf_counter() < until:
        figure = await w1a(stage)
        ended += figure.items
        rates.append(figure.value)
    note = f"by portions of 20k: {', '.join(f'{rate:,.0f}' for rate in rates)}"
    return Figure(statistics.mean(rates), ended, note)


async def w1a_deleting(stage: Stage) -> Figure:
    """Return W1a while a million runs are deleted and after it, as a share of W1a before."""
    await stage.execute(history.FINISHED, stage.finished)
    await stage.execute("vacuum analyze")
    await stage.execute("update outlast.environment set retention_days = 1")
    before = [await _w1a_rate(stage) for _ in range(_PORTIONS)]
    began, during = time.perf_counter(), []
    deleting = asyncio.create_task(_delete(stage.url))
    try:
        while not deleting.done():
            during.append(await _w1a_rate(stage))
        gone = await deleting
    finally:
        deleting.cancel()
    took = time.perf_counter() - began
    after = [await _w1a_rate(stage) for _ in range(_PORTIONS)]
    medians = [statistics.median(rates) for rates in (before, during, after)]
    note = (
        f"before {medians[0]:,.0f}, while {gone:,} went in {took:,.0f} s {medians[1]:,.0f},"
        f" after {medians[2]:,.0f} runs/s; while: {', '.join(f'{rate:,.0f}' for rate in during)}"
    )
    items = (len(before) + len(during) + len(after)) * _PORTION
    return Figure(100 * min(medians[1:]) / medians[0], items, note)


async def _w1a_rate(stage: Stage) -> float:
    """Return W1a where runs go meanwhile, so that ends cannot be counted."""
    began = time.perf_counter()
    await _in_flight(_PORTION, lambda number: tasks.trigger("noop", number))
    await stage.until_idle()
    return _PORTION / (time.perf_counter() - began)


async def _delete(url: str) -> int:
    async with await Database.open(DatabaseSettings(url=url, pool_size=2)) as database:
        return await Retention(database, clock=lambda: None).run_once()


async def w1b(stage: Stage, count: int = 20_000) -> Figure:
    """Return runs per second, triggered in batches of 1,000."""
    target = await stage.ended() + count
    began = time.perf_counter()
    for first in range(0, count, _BATCH):
        await tasks.batch_trigger("noop", [BatchItem(n) for n in range(first, first + _BATCH)])
    await stage.until_ended(target)
    return Figure(count / (time.perf_counter() - began), count)


async def w1b_wide(stage: Stage) -> Figure:
    """Return runs per second over 1,000 environments, 20 runs each, batched."""
    return Figure(*await crowd.measure(stage, environments=1_000, runs=20))


async def w2(stage: Stage, count: int = 200, per_second: float = 20.0) -> Figure:
    """Return milliseconds from the trigger call to the task's first line, idle otherwise."""
    stage.starts.unlink(missing_ok=True)
    target = await stage.ended() + count
    for _ in range(count):
        await tasks.trigger("tell-start", time.time())
        await asyncio.sleep(1 / per_second)
    await stage.until_ended(target)
    delays = sorted(float(line) * 1000 for line in stage.starts.read_text().split())
    p99 = delays[int(len(delays) * 0.99)]
    return Figure(statistics.median(delays), count, f"p99 {p99:,.2f} ms")


async def w3(stage: Stage, count: int = 1_000) -> Figure:
    """Return steps per second: runs of ten steps, 64 triggers in flight."""
    target = await stage.ended() + count
    began = time.perf_counter()
    await _in_flight(count, lambda _number: tasks.trigger("steps", 10))
    await stage.until_ended(target)
    return Figure(count * 10 / (time.perf_counter() - began), count * 10)


async def w4(_stage: Stage, children: int = 1_000) -> Figure:
    """Return seconds from one parent's fan-out until all children have answered."""
    handle = await tasks.trigger("fan-out", children)
    output: Any = await handle.result(timeout=120)
    return Figure(float(output), children)


async def w5(stage: Stage) -> Figure:
    """Return what W1b gives with 200k runs queued in 100 lanes of a queue with limit 0."""
    await stage.execute(history.QUEUED)
    return await w1b(stage)


async def parked(stage: Stage, count: int = 2_000) -> Figure:
    """Return the KB of worker memory that each of many waiting runs costs."""
    before = meter.resident(stage.worker)
    runs = [await tasks.trigger("wait", 3_600.0) for _ in range(count)]
    waiting = "select count(*) from outlast.run_state where status = 'waiting'"
    await stage.until(lambda: stage.number(waiting), count)
    grown = meter.resident(stage.worker) - before
    for run in runs:
        await run.cancel()
    return Figure(grown / count / 1024, count)


async def _in_flight(count: int, trigger: Callable[[int], Awaitable[object]]) -> None:
    numbers: Iterator[int] = iter(range(count))

    async def one_after_the_other() -> None:
        for number in numbers:
            await trigger(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(_IN_FLIGHT):
            group.create_task(one_after_the_other())
