"""Plans that are made while the tables are empty stay, and must do for full ones."""

import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from outlast.engine.claims import CLAIMS
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


def _indexes(plan: Any) -> Iterator[str]:
    if isinstance(plan, dict):
        if "Index Name" in plan:
            yield plan["Index Name"]
        plan = list(plan.values())
    if isinstance(plan, list):
        for part in plan:
            yield from _indexes(part)
