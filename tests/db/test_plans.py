"""Plans that are made while the tables are empty stay, and must do for full ones."""

import json
from collections.abc import Iterator
from typing import Any

import asyncpg

from outlast.engine.claims import CLAIMS


async def test_claims_are_read_by_the_key_of_each_table_whatever_the_statistics(
    fresh_url: str,
) -> None:
    connection = await asyncpg.connect(fresh_url)
    try:
        await connection.execute("set plan_cache_mode = force_generic_plan")
        await connection.execute(f"prepare claims as {CLAIMS.load_claims.sql}")
        [row] = await connection.fetch(
            "explain (format json) execute claims (array['run_1'], 'env_1')"
        )
    finally:
        await connection.close()

    used = set(_indexes(json.loads(row[0])))
    assert {"run_pkey", "run_state_pkey"} <= used
    assert not {index for index in used if index.startswith("run_task")}


def _indexes(plan: Any) -> Iterator[str]:
    if isinstance(plan, dict):
        if "Index Name" in plan:
            yield plan["Index Name"]
        plan = list(plan.values())
    if isinstance(plan, list):
        for part in plan:
            yield from _indexes(part)
