"""Plans that are made while the tables are empty stay, and must do for full ones."""

import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from outlast.engine.claims import CLAIMS
from outlast.engine.functions import functions_schema
from outlast.engine.liveness import SESSIONS
from outlast.engine.queries import Statement


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (CLAIMS.load_claims, "array['run_1'], 'env_1'"),
        (SESSIONS.overdue, "1.0"),
    ],
)
async def test_runs_are_looked_up_by_the_key_of_their_table_whatever_the_statistics(
    fresh_url: str, statement: Statement, values: str
) -> None:
    connection = await asyncpg.connect(fresh_url)
    try:
        await connection.execute("set plan_cache_mode = force_generic_plan")
        await connection.execute(f"prepare looked as {statement.sql}")
        [row] = await connection.fetch(f"explain (format json) execute looked ({values})")
    finally:
        await connection.close()

    used = set(_indexes(json.loads(row[0])))
    assert "run_pkey" in used
    assert "run_task_idx" not in used


FILL = """
insert into outlast.run (environment_id, id, task, queue, executor, payload, payload_type,
    payload_blob, parent_id, trigger_function, retry, seed, created_at)
  select 'env_1', 'run_' || lpad(n::text, 6, '0'), 't', 'task/t', 'shared', null,
    'application/json', 'blob_' || n, 'run_000001', 'trigger', '{}', '', now()
  from generate_series(1, 3000) n;
insert into outlast.run_state (run_id, environment_id, status, lane_id, updated_at)
  select id, 'env_1', 'completed', 1, now() from outlast.run;
insert into outlast.run_end (run_id, status, attempt, finished_at)
  select id, 'completed', 1, now() from outlast.run;
insert into outlast.log (run_id, at, level, message) select id, now(), 'info', '' from outlast.run;
insert into outlast.blob (id, environment_id, data)
  select payload_blob, 'env_1', '1' from outlast.run;
insert into outlast.lane (environment_id, queue, key, route)
  select 'env_1', 'task/t', n::text, 'current/shared' from generate_series(1, 3000) n;
"""
PRUNES = (
    "prune_parts('env_1', 'logs', false, '', 'run_1', '2100-01-01', 200, 2000)",
    "prune_parts('env_1', 'logs', true, '', 'run_1', '2100-01-01', 200, 2000)",
    "prune_blobs('blob_2', 200)",
    "prune_runs('env_1', '', 'run_1', '2100-01-01', 200, 2000)",
    "erase_run('env_1', 'run_000900', 2000)",
    "drop_idle('env_1', null, array[1, 2, 3], '{}', '{}', '{}', '{}')",
)


async def test_what_is_old_is_deleted_along_indexes_whatever_the_statistics(fresh_url: str) -> None:
    """In one transaction: its statistics are those of what it did itself."""
    filling = await asyncpg.connect(fresh_url)
    await filling.execute(FILL)
    await filling.close()
    connection = await asyncpg.connect(fresh_url)
    try:
        async with connection.transaction():
            for call in PRUNES:
                await connection.execute(f"select {functions_schema()}.{call}")
            rows = await connection.fetch(
                "select relname, seq_scan, n_tup_del from pg_stat_xact_user_tables"
                " where schemaname = 'outlast'"
            )
    finally:
        await connection.close()

    deleted = {row["relname"]: row["n_tup_del"] for row in rows if row["n_tup_del"]}
    assert deleted["run"] == deleted["run_end"] == deleted["run_state"] == 201
    assert deleted["log"] == 201
    assert deleted["lane"] == 3
    assert [row["relname"] for row in rows if row["seq_scan"]] == []


def _indexes(plan: Any) -> Iterator[str]:
    if isinstance(plan, dict):
        if "Index Name" in plan:
            yield plan["Index Name"]
        plan = list(plan.values())
    if isinstance(plan, list):
        for part in plan:
            yield from _indexes(part)
