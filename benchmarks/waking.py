"""What begins by the clock: runs that wait, all due at one instant or spread out, and schedules.

Of waits only the engine's part is measured: the queue of the sleepers takes none of them, so that
the clock stops when they are ready. The runs of another tenant go on beside them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from benchmarks.rows import Figure
from benchmarks.stage import Stage
from outlast import schedules, tasks

_MANY = 100_000
_SPREAD, _SPREAD_SECONDS = 10_000, 20
_PAUSE = 0.05
_AHEAD = 20.0  # seconds to write the timers
_WAITING = """
select count(*) from outlast.run_state s join outlast.lane l on l.id = s.lane_id
where s.status = 'waiting' and l.queue = 'task/{task}'
"""
_READY = "select coalesce(sum(queued), 0) from outlast.queue where name = 'task/{task}'"
_CLOSE = "update outlast.queue set concurrency_limit = 0 where name = $1"
_TICKS = 10_000
_SCHEDULES = """
with first as (
  update outlast.schedule set next_at = to_timestamp($3), due_at = to_timestamp($3) where id = $1
)
insert into outlast.schedule (id, environment_id, kind, task, deduplication_key, concurrency_key,
  cron, timezone, catchup, next_at, due_at)
select 'sched_' || lpad(n::text, 26, '0'), environment_id, kind, task, 'tenant ' || n,
  'tenant ' || n, cron, timezone, catchup, to_timestamp($3), to_timestamp($3)
from outlast.schedule, generate_series(1, $2::int) n where id = $1
"""
_TICKED = """
select count(*) from outlast.run_end e join outlast.run r on r.id = e.run_id where r.task = 'tick'
"""
_LAST_TICK = """
select ceil(max(extract(epoch from s.started_at) - {due}) * 1000)
from outlast.run_state s join outlast.run r on r.id = s.run_id where r.task = 'tick'
"""
_COPIES = """
insert into outlast.{table}
select (jsonb_populate_record(t, jsonb_build_object('{key}', $1 || 'x' || n, 'session_id', null))).*
from outlast.{table} t, generate_series(1, $2::int) n where t.{key} = $1
"""
_TIMERS = """
with gone as (
  delete from outlast.timer where kind = 'wait' and ref = $1 returning environment_id, key
)
insert into outlast.timer (environment_id, due_at, kind, ref, key)
select g.environment_id, to_timestamp($4 + $3 * n / $2), 'wait',
  $1 || case when n = 0 then '' else 'x' || n end, g.key
from gone g, generate_series(0, $2::int) n
"""


async def at_once(stage: Stage) -> Figure:
    """Return seconds until 100,000 runs that are due at one instant are ready.

    The note says how long others took from their trigger to their first line meanwhile.
    """
    due = await _sleepers(stage, "sleeper-at-once", _MANY, spread=0.0)
    ready = _READY.format(task="sleeper-at-once")
    seconds, note = await _others(stage, due, lambda: stage.number(ready), _MANY)
    return Figure(seconds, _MANY, note)


async def ticks(stage: Stage) -> Figure:
    """Return seconds from the minute at which 10,000 tenants' schedules are due to the last start.

    The note says how long others took from their trigger to their first line meanwhile.
    """
    made = await schedules.create("tick", cron="0 * * * *", deduplication_key="tenant")
    due = 60.0 * (int(time.time() + _AHEAD) // 60 + 1)
    await stage.execute(_SCHEDULES, made.id, _TICKS - 1, due)
    _, note = await _others(stage, due, lambda: stage.number(_TICKED), _TICKS)
    last = await stage.number(_LAST_TICK.format(due=due))
    await stage.execute("delete from outlast.schedule")
    return Figure(last / 1000, _TICKS, note)


async def spread_out(stage: Stage) -> Figure:
    """Return the most seconds that one of 10,000 runs, due over 20 s, was ready late."""
    await _sleepers(stage, "sleeper-spread", _SPREAD, spread=float(_SPREAD_SECONDS))
    await stage.execute(
        "create table due as select ref, key, due_at from outlast.timer where kind = 'wait'"
    )
    ready = _READY.format(task="sleeper-spread")
    await stage.until(lambda: stage.number(ready), _SPREAD)
    late = await stage.number(
        "select ceil(max(extract(epoch from e.finished_at - d.due_at)) * 1000)"
        " from outlast.entry e join due d on d.ref = e.run_id and d.key = e.key"
    )
    await stage.execute("drop table due")
    return Figure(late / 1000, _SPREAD)


async def _others(stage: Stage, due: float, look: Callable[[], Awaitable[int]], least: int) -> str:
    """From a moment on trigger runs of another tenant until a number is reached; tell of them."""
    stage.starts.unlink(missing_ok=True)
    asked = 0
    await asyncio.sleep(due - time.time())
    while await look() < least:
        await tasks.trigger("tell-start", time.time(), concurrency_key="another tenant")
        asked += 1
        await asyncio.sleep(_PAUSE)
    seconds = time.time() - due
    await stage.until(lambda: _lines(stage), asked)
    delays = sorted(float(line) * 1000 for line in stage.starts.read_text().split())
    most, half = delays[-1], delays[asked // 2]
    note = f"{asked} runs of others started within {most:,.0f} ms, half within {half:,.0f} ms"
    return seconds, note


async def _sleepers(stage: Stage, task: str, count: int, *, spread: float) -> float:
    """Make copies of a run that waits, as if all had gone cold; return when the first is due."""
    run = await tasks.trigger(task)
    await stage.until(lambda: stage.number(_WAITING.format(task=task)), 1)
    await stage.execute(_CLOSE, f"task/{task}")
    for table, key in (("run", "id"), ("run_state", "run_id"), ("entry", "run_id")):
        await stage.execute(_COPIES.format(table=table, key=key), run.id, count - 1)
    await stage.execute("analyze")
    due = time.time() + _AHEAD
    await stage.execute(_TIMERS, run.id, count - 1, spread, due)
    if time.time() > due:
        raise TimeoutError(f"writing {count} timers took longer than {_AHEAD:.0f} s")
    return due


async def _lines(stage: Stage) -> int:
    return len(stage.starts.read_text().split()) if stage.starts.exists() else 0
