"""Many runs that wait: all due at one instant, or spread out. Only the engine's part is measured.

The queue of the sleepers takes none of them, so that the clock stops when they are ready; the runs
of another tenant go on beside them.
"""

import asyncio
import time

from benchmarks.rows import Figure
from benchmarks.stage import Stage
from outlast import tasks

_MANY = 100_000
_SPREAD, _SPREAD_SECONDS = 10_000, 20
_PAUSE = 0.05
_AHEAD = 20.0  # seconds to write the timers
_WAITING = """
select count(*) from outlast.run_state s join outlast.lane l on l.id = s.lane_id
where s.status = 'waiting' and l.queue like 'task/sleeper-%'
"""
_READY = "select coalesce(sum(queued), 0) from outlast.queue where name = 'task/{task}'"
_CLOSE = "update outlast.queue set concurrency_limit = 0 where name like 'task/sleeper-%'"
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
    stage.starts.unlink(missing_ok=True)
    asked = 0
    await asyncio.sleep(due - time.time())
    while await stage.number(_READY.format(task="sleeper-at-once")) < _MANY:
        await tasks.trigger("tell-start", time.time(), concurrency_key="another tenant")
        asked += 1
        await asyncio.sleep(_PAUSE)
    seconds = time.time() - due
    await stage.until(lambda: _lines(stage), asked)
    delays = sorted(float(line) * 1000 for line in stage.starts.read_text().split())
    most, half = delays[-1], delays[asked // 2]
    note = f"{asked} runs of others started within {most:,.0f} ms, half within {half:,.0f} ms"
    return Figure(seconds, _MANY, note)


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


async def _sleepers(stage: Stage, task: str, count: int, *, spread: float) -> float:
    """Make copies of a run that waits, as if all had gone cold; return when the first is due."""
    run = await tasks.trigger(task)
    await stage.until(lambda: stage.number(_WAITING), 1)
    await stage.execute(_CLOSE)
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
