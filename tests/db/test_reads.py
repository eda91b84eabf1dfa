"""A turn reads what it changes, however much stands beside it: also under plans made before."""

import asyncpg

from offices import Office, manifest, task
from outlast.engine.database import Database, Executor
from outlast.engine.tenancy import Environment
from outlast.engine.turn import Cancellation, Ending, Item, NewRun, Pool, Telling, play
from outlast.protocol.triggers import Trigger

MANY, FEW = 3_000, 5
MOST_READ = 40 * FEW  # rows of one table, in a turn that moves 4 * FEW runs

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
READ = """
select relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as rows
from pg_stat_xact_user_tables where schemaname = 'outlast' order by rows desc
"""


class Floor:
    """One connection, as a server keeps it: its plans are made once, while little is there."""

    def __init__(self, office: Office, environment: Environment, executor: Executor) -> None:
        self.office = office
        self.environment = environment
        self.executor = executor

    async def trigger(self, count: int, ttl: float | None = None) -> list[str]:
        trigger = Trigger(task="job", payload="1", ttl=ttl)
        made = await self.office.admission.admit(self.environment, [trigger] * count)
        runs = [one for one in made if isinstance(one, NewRun)]
        for begin in range(0, count, 500):
            await self.play(runs[begin : begin + 500])
        return [run.run for run in runs]

    async def play(self, items: list[NewRun] | list[Item], slots: int = 0) -> list[Telling]:
        pools = [Pool(("current/shared",), ("session_1",), (slots,))] if slots else []
        return await play(
            self.executor,
            self.environment.id,
            items,
            pools=pools,
            homes=[],
            server="here",
            clock=None,
        )

    async def busy_turn(self) -> dict[str, int]:
        """Let runs wake, expire, be canceled, end and be claimed; return the rows read of each."""
        await self.play([], slots=FEW)
        await self.executor.connection.execute(SLEEP, self.environment.id)
        claimed = [one for one in await self.play([], slots=FEW) if one.kind == "claim"]
        assert len(claimed) == FEW
        canceled = await self.trigger(FEW)
        await self.trigger(FEW, ttl=0.000_001)
        items: list[Item] = [
            Ending(run=c.run or "", token=c.token, status="completed") for c in claimed
        ]
        items += [Cancellation(run=run) for run in canceled]
        async with self.executor.connection.transaction():
            before = {row["relname"]: row["rows"] for row in await self._fetch(READ)}
            tellings = await self.play(items, slots=FEW)
            after = {row["relname"]: row["rows"] for row in await self._fetch(READ)}
        kinds = [telling.kind for telling in tellings]
        assert kinds.count("ended") == 3 * FEW
        assert kinds.count("claim") == FEW
        return {table: rows - before.get(table, 0) for table, rows in after.items()}

    async def _fetch(self, statement: str) -> list[asyncpg.Record]:
        return await self.executor.connection.fetch(statement)


async def test_a_turn_reads_as_much_beside_many_runs_as_beside_few(database: Database) -> None:
    """Whatever the plans were made for: a join planned for empty tables reads whole ones later."""
    office = Office(database)
    project = await office.project()
    environment = project.environments[0]
    await office.catalogue.register(environment.id, manifest("d-1", task("job")))
    async with database.acquire() as executor:
        await executor.connection.execute(SESSION, environment.id)
        floor = Floor(office, environment, executor)
        await floor.trigger(4 * FEW)
        await floor.busy_turn()
        await floor.trigger(MANY)

        read = await floor.busy_turn()

    assert {table: rows for table, rows in read.items() if rows > MOST_READ} == {}
