"""The machine's own ceiling: raw batched asyncpg insert + claim + complete, nothing else."""

import time

import asyncpg

_BATCH = 500
_TABLE = """
drop table if exists ceiling;
create table ceiling (
  id bigint generated always as identity primary key,
  state text not null default 'ready',
  payload text,
  output text
);
create index ceiling_ready_idx on ceiling (id) where state = 'ready'
"""


async def measure(url: str, count: int = 20_000) -> float:
    """Return lifecycles per second of `count` rows in batches of 500, fsync on."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_TABLE)
        began = time.perf_counter()
        for _ in range(count // _BATCH):
            await connection.execute(
                "insert into ceiling (payload) select 'x' from generate_series(1, $1::int)", _BATCH
            )
            rows = await connection.fetch(
                "update ceiling set state = 'running' where id in (select id from ceiling"
                " where state = 'ready' order by id limit $1 for update skip locked) returning id",
                _BATCH,
            )
            await connection.execute(
                "update ceiling set state = 'done', output = '1' where id = any($1::bigint[])",
                [row["id"] for row in rows],
            )
        return count / (time.perf_counter() - began)
    finally:
        await connection.execute("drop table if exists ceiling")
        await connection.close()
