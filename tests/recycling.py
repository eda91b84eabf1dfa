"""Databases of tests that have ended, emptied for the next: making one takes five times as long.

Whatever a test did to more than rows (tables, functions, statistics of the planner) keeps its
database from coming back, so no test can tell an emptied one from a new one.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from postgres import administrate, clone, url_of

_MOST_USES = 40  # rows that went leave pages behind

_SHAPE = """
select array[
  (select count(*) from pg_class), (select count(*) from pg_proc),
  (select count(*) from pg_namespace),
  (select count(*) from pg_statistic s join pg_class c on c.oid = s.starelid and c.oid >= 16384),
  (select sum(reltuples)::bigint from pg_class where oid >= 16384 and relkind = 'r'),
  (select max(xmin::text::bigint) from pg_attribute where attrelid >= 16384),
  (select max(xmin::text::bigint) from pg_class where oid >= 16384 and relkind in ('r', 'v')),
  (select max(xmin::text::bigint) from pg_index where indrelid >= 16384),
  (select max(xmin::text::bigint) from pg_constraint where oid >= 16384),
  (select count(*) from pg_trigger), (select count(*) from pg_db_role_setting)
]
"""

_EMPTY = """
do $$
declare
  belonging text;
  is_used boolean;
begin
  set local session_replication_role = replica;  -- what refers to what goes in any order
  for belonging in
    select relname from pg_class
    where relnamespace = 'outlast'::regnamespace and relkind = 'r' and relname <> 'migration'
  loop
    execute format('select exists (select from outlast.%1$I)', belonging) into is_used;
    if is_used then
      execute format('delete from outlast.%1$I', belonging);
    end if;
  end loop;
  perform setval(seqrelid::regclass, seqstart, false) from pg_sequence;
end $$
"""

_ALONE = """
select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()
"""


class Databases:
    """Migrated databases of one server: each test has one to itself, and it is as good as new."""

    def __init__(self, server_url: str, template: str) -> None:
        self._server_url = server_url
        self._template = template
        self._idle: list[str] = []
        self._uses: dict[str, int] = {}
        self._shape: list[int] | None = None

    @asynccontextmanager
    async def one(self) -> AsyncIterator[str]:
        """Give the URL of a database with no rows."""
        name = self._idle.pop() if self._idle else await self._make()
        self._uses[name] += 1
        try:
            yield url_of(self._server_url, name)
        finally:
            if self._uses[name] < _MOST_USES and await self._empty(name):
                self._idle.append(name)
            else:
                await self._drop(name)

    async def close(self) -> None:
        """Drop what is left."""
        for name in tuple(self._uses):
            await self._drop(name)

    async def _make(self) -> str:
        name = await clone(self._server_url, self._template)
        self._uses[name] = 0
        if self._shape is None:
            async with self._within(name) as connection:
                self._shape = await connection.fetchval(_SHAPE)
        return name

    async def _empty(self, name: str) -> bool:
        """Delete every row; False: the test has left more than rows."""
        try:
            async with self._within(name) as connection:
                await connection.execute(_ALONE)
                if await connection.fetchval(_SHAPE) != self._shape:
                    return False
                await connection.execute(_EMPTY)
        except asyncpg.PostgresError:
            return False  # say, the test has dropped it
        return True

    @asynccontextmanager
    async def _within(self, name: str) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(url_of(self._server_url, name))
        try:
            yield connection
        finally:
            await connection.close()

    async def _drop(self, name: str) -> None:
        del self._uses[name]
        await administrate(self._server_url, f"drop database if exists {name} with (force)")
