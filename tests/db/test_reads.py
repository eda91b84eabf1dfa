"""A turn reads what it changes, however much stands beside it: also under plans made before."""

import asyncpg
import pytest

from offices import Office, manifest, task
from outlast.engine.database import Database, Executor
from outlast.engine.tenancy import Environment
from outlast.engine.turn import (
    Cancellation,
    Ending,
    Item,
    NewRun,
    Pool,
    Rescue,
    Restarting,
    Start,
    Suspension,
    Telling,
    play,
)
from outlast.protocol.triggers import Trigger

MANY, FEW = 3_000, 5
MOST_READ = 60 * FEW  # rows of one table, in a turn that moves 4 * FEW runs

SESSION = """
insert into outlast.session (
  id, environment_id, version_id, name, host, pid, heartbeat_at, created_at)
select 'session_1', id, current_version_id, 'worker', 'host', 1, now(), now()
from outlast.environment where id = $1
"""
SLEEP = """
with made as (
  update outlast.run_state set status = 'waiting', awaiting = '{k}'
  where status = 'executing' or status = 'dequeued' returning run_id
), entered as (
  insert into outlast.entry (run_id, key, kind, name, attempt, created_at)
  select run_id, 'k', 'wait', 'wait', 1, now() from made
)
insert into outlast.timer (environment_id, due_at, kind, ref, key)
select $1, now(), 'wait', run_id, 'k' from made
"""
AWAITED = """
with parent as (select run_id from outlast.run_state where status = 'waiting' limit 1), child as (
  insert into outlast.entry (run_id, key, kind, name, attempt, created_at)
  select parent.run_id, 'child ' || id, 'child', 'job', 1, now() from parent, unnest($1::text[]) id
)
insert into outlast.waiter (target, run_id, key)
select id, parent.run_id, 'child ' || id from parent, unnest($1::text[]) id
"""
# What stands beside the runs of a turn: parked with their session, waited for, entries, ends.
BESIDE = """
with parked as (
  update outlast.run_state set status = 'waiting', awaiting = '{never}', session_id = 'session_1'
  where status = 'delayed' returning run_id
), entered as (
  insert into outlast.entry (run_id, key, kind, name, attempt, created_at)
  select run_id, 'never', 'wait', 'wait', 1, now() from parked
), ended as (
  insert into outlast.run_end (run_id, status, attempt, finished_at)
  select 'run_before_' || run_id, 'completed', 1, now() from parked
)
insert into outlast.waiter (target, run_id, key)
select 'run_after_' || run_id, run_id, 'never' from parked
"""
TABLES = (
    "select relname from pg_class where relnamespace = 'outlast'::regnamespace and relkind = 'r'"
)
READ = """
select relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as rows
from pg_stat_xact_user_tables where schemaname = 'outlast' order by rows desc
"""


class Floor:
    """One connection, as a server keeps it: its plans are made once, while little is there."""

    def __init__(self, office: Office, environment: Environment, executor: Executor) -> None:
        self.office = office
        self.environment = environment
        self.connection = executor.connection
        self._executor = executor

    async def trigger(
        self, count: int, delay: float | None = None, ttl: float | None = None
    ) -> list[str]:
        """Make runs, each with a lane of its own."""
        triggers = [
            Trigger(task="job", payload="1", concurrency_key=str(n), delay=delay, ttl=ttl)
            for n in range(count)
        ]
        made = await self.office.admission.admit(self.environment, triggers)
        runs = [one for one in made if isinstance(one, NewRun)]
        for begin in range(0, count, 500):
            await self.play(runs[begin : begin + 500])
        return [run.run for run in runs]

    async def play(self, items: list[NewRun] | list[Item], slots: int = 0) -> list[Telling]:
        pools = [Pool(("current/shared",), ("session_1",), (slots,))] if slots else []
        return await play(
            self._executor,
            self.environment.id,
            items,
            pools=pools,
            homes=[],
            server="here",
            clock=None,
        )

    async def each_table(self, verb: str) -> None:
        for row in await self.connection.fetch(TABLES):
            await self.connection.execute(f"{verb} outlast.{row['relname']}")

    async def busy_turn(self) -> dict[str, int]:
        """Let runs wake, expire, end, wait, be lost and claimed; return the rows read by table."""
        await self.play([], slots=FEW)
        await self.connection.execute(SLEEP, self.environment.id)
        claimed = [one for one in await self.play([], slots=FEW) if one.kind == "claim"]
        assert len(claimed) == FEW
        canceled = await self.trigger(FEW)
        await self.connection.execute(AWAITED, canceled)
        await self.trigger(FEW, ttl=0.000_001)
        held = [(claim.run or "", claim.token) for claim in claimed]
        items: list[Item] = [Start(run=run, token=token) for run, token in held]
        items += [Ending(run=run, token=token, status="completed") for run, token in held[3:]]
        items.append(Suspension(run=held[0][0], token=held[0][1], keys=("k2",)))
        items.append(Rescue(run=held[1][0], token=held[1][1]))
        items.append(Restarting(run=held[2][0], token=held[2][1], payload="2"))
        items += [Cancellation(run=run) for run in canceled]
        async with self.connection.transaction():
            before = {row["relname"]: row["rows"] for row in await self._fetch(READ)}
            tellings = await self.play(items, slots=FEW)
            after = {row["relname"]: row["rows"] for row in await self._fetch(READ)}
        kinds = [telling.kind for telling in tellings]
        assert kinds.count("ended") == 3 * FEW - 3
        assert kinds.count("claim") == FEW
        return {table: rows - before.get(table, 0) for table, rows in after.items()}

    async def _fetch(self, statement: str) -> list[asyncpg.Record]:
        return await self.connection.fetch(statement)


@pytest.mark.parametrize("verb", [None, "vacuum", "analyze"])
@pytest.mark.parametrize("runs", [0, 4 * FEW])
async def test_a_turn_reads_as_much_beside_many_runs_as_beside_few(
    database: Database, verb: str | None, runs: int
) -> None:
    """Whatever the plans were made for: a join planned for empty tables reads whole ones later."""
    office = Office(database)
    project = await office.project()
    environment = project.environments[0]
    await office.catalogue.register(environment.id, manifest("d-1", task("job")))
    async with database.acquire() as executor:
        floor = Floor(office, environment, executor)
        await floor.connection.execute(SESSION, environment.id)
        await floor.trigger(runs)
        if verb:
            await floor.each_table(verb)
        await floor.trigger(4 * FEW - runs)
        await floor.busy_turn()
        await floor.trigger(MANY, delay=3600)
        await floor.connection.execute(BESIDE)
        await floor.trigger(MANY)

        read = await floor.busy_turn()

    assert {table: rows for table, rows in read.items() if rows > MOST_READ} == {}
