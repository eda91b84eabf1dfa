"""The workloads, each a question with one number for an answer."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from benchmarks.stage import Stage
from outlast import BatchItem, tasks

_IN_FLIGHT = 64
_BATCH = 1_000


async def w1a(stage: Stage, count: int = 20_000, task: str = "noop") -> float:
    """Return runs per second, triggered one `await` at a time with 64 in flight."""
    target = await stage.ended() + count
    began = time.perf_counter()
    await _in_flight(count, lambda number: tasks.trigger(task, number))
    await stage.until_ended(target)
    return count / (time.perf_counter() - began)


async def w1b(stage: Stage, count: int = 20_000) -> float:
    """Return runs per second, triggered in batches of 1,000."""
    target = await stage.ended() + count
    began = time.perf_counter()
    for first in range(0, count, _BATCH):
        await tasks.batch_trigger("noop", [BatchItem(n) for n in range(first, first + _BATCH)])
    await stage.until_ended(target)
    return count / (time.perf_counter() - began)


async def w2(stage: Stage, count: int = 200, per_second: float = 20.0) -> tuple[float, float]:
    """Return milliseconds from the trigger call to the task's first line, p50 and p99, idle."""
    stage.starts.unlink(missing_ok=True)
    target = await stage.ended() + count
    for _ in range(count):
        await tasks.trigger("tell-start", time.time())
        await asyncio.sleep(1 / per_second)
    await stage.until_ended(target)
    delays = sorted(float(line) * 1000 for line in stage.starts.read_text().split())
    return statistics.median(delays), delays[int(len(delays) * 0.99)]


async def w3(stage: Stage, count: int = 1_000) -> float:
    """Return steps per second: runs of ten steps, 64 triggers in flight."""
    target = await stage.ended() + count
    began = time.perf_counter()
    await _in_flight(count, lambda number: tasks.trigger("ten-steps", number))
    await stage.until_ended(target)
    return count * 10 / (time.perf_counter() - began)


async def w4(stage: Stage, children: int = 1_000) -> float:
    """Return seconds from one parent's fan-out until all children have answered."""
    handle = await tasks.trigger("fan-out", children)
    output: Any = await handle.result(timeout=120)
    await stage.ended()
    return float(output)


async def w5(stage: Stage, queued: int = 200_000, lanes: int = 100) -> float:
    """Return what W1b gives with many runs queued in lanes of a queue with limit 0."""
    await stage.execute(_backlog(queued, lanes))
    return await w1b(stage)


def _backlog(queued: int, lanes: int) -> str:
    """Queue runs behind the platform's back: triggering them is not what is measured."""
    return f"""
    insert into outlast.queue (environment_id, name, concurrency_limit, queued)
      select id, 'closed', 0, {queued} from outlast.environment where slug = 'dev'
      on conflict do nothing;
    insert into outlast.lane (environment_id, queue, key, route, queued)
      select e.id, 'closed', 'key-' || k, 'current/shared', {queued // lanes}
      from outlast.environment e, generate_series(1, {lanes}) k where e.slug = 'dev'
      on conflict do nothing;
    insert into outlast.run (environment_id, id, task, queue, concurrency_key, executor, payload,
        payload_type, trigger_function, retry, seed, created_at)
      select e.id, 'run_0' || lpad(n::text, 12, '0'), 'noop', 'closed', 'key-' || (1 + n % {lanes}),
        'shared', '1', 'application/json', 'trigger', '{{}}', '\\x00', now()
      from outlast.environment e, generate_series(1, {queued}) n where e.slug = 'dev'
      on conflict do nothing;
    insert into outlast.run_state
        (run_id, environment_id, status, lane_id, ready_rank, ready_at, updated_at)
      select r.id, r.environment_id, 'queued', l.id, 1, r.created_at, now()
      from outlast.run r join outlast.lane l on l.environment_id = r.environment_id
        and l.queue = r.queue and l.key = r.concurrency_key
      where r.queue = 'closed' on conflict do nothing;
    insert into outlast.ready (lane_id, rank, at, run_id, fresh)
      select lane_id, 1, ready_at, run_id, true from outlast.run_state s
      where exists (select from outlast.run r where r.environment_id = s.environment_id
                    and r.id = s.run_id and r.queue = 'closed') on conflict do nothing;
    analyze
    """


async def _in_flight(count: int, trigger: Callable[[int], Awaitable[object]]) -> None:
    numbers: Iterator[int] = iter(range(count))

    async def one_after_the_other() -> None:
        for number in numbers:
            await trigger(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(_IN_FLIGHT):
            group.create_task(one_after_the_other())
