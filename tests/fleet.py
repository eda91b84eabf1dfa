"""A fleet of real processes to kill: PostgreSQL, servers, workers, and a record of effects."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import asyncpg
import httpx
import msgspec

from outlast.engine.audit import Audit, Finding
from outlast.engine.binaries import wheel_binaries
from outlast.engine.database import Database, DatabaseSettings
from outlast.engine.embedded import EmbeddedServer
from outlast.engine.keys import KeyRing, Keys
from outlast.engine.migrations import migrate
from outlast.engine.tenancy import Tenancy
from outlast.protocol.outcomes import Outcome
from outlast.protocol.triggers import Trigger, Triggered
from polling import until

Program: TypeAlias = "subprocess.Popen[bytes]"
MOST_TRIGGERS = 250  # in one request
FAILING_SERVER = Path(__file__).with_name("failing_server.py")

TASKS = '''\
"""Tasks whose effects can be counted: S a step began, R the code received its result."""

import asyncio
import os
import time
import uuid

from outlast import step, task

EFFECTS = os.environ["FLEET_EFFECTS"]


def note(line: str) -> None:
    with open(EFFECTS, "a") as file:
        file.write(line + "\\n")


def work(ctx, name: str, gate: str) -> str:
    note(f"S {ctx.run.id} {name} {os.getpid()} {ctx.step.token}")
    while gate and not os.path.exists(gate):
        time.sleep(0.05)
    return uuid.uuid4().hex


async def stepped(ctx, name: str, gate: str = "") -> None:
    received = await step(name, lambda: work(ctx, name, gate))
    note(f"R {ctx.run.id} {name} {received}")


@task("leaf")
async def leaf(payload: str, ctx) -> str:
    await stepped(ctx, "only")
    return payload


@task("family")
async def family(payload: str | int, ctx) -> list[str]:
    await stepped(ctx, "first")
    first = asyncio.ensure_future(leaf.trigger_and_wait("one").unwrap())
    while payload == "watchful" and not first.done():
        await asyncio.sleep(0.1)  # it keeps its slot, so the result has to be brought
    one = await first
    await stepped(ctx, "second")
    two, three = await asyncio.gather(
        leaf.trigger_and_wait("two").unwrap(), leaf.trigger_and_wait("three").unwrap()
    )
    await stepped(ctx, "third")
    return [one, two, three]


@task("gated")
async def gated(gate: str, ctx) -> None:
    await stepped(ctx, "first")
    note(f"W {ctx.run.id} gate")
    while not os.path.exists(gate):
        await asyncio.sleep(0.05)
    await stepped(ctx, "second")


@task("held")
async def held(gate: str, ctx) -> None:
    await stepped(ctx, "only", gate)


@task("alone")
def alone(payload: str, ctx) -> int:
    time.sleep(0.3)
    return os.getppid()


@task("crowd")
async def crowd(payload: str | int, ctx) -> None:
    calls = asyncio.gather(*(alone.trigger_and_wait(str(n)).unwrap() for n in range(6)))
    while not calls.done():
        await asyncio.sleep(0.05)  # it keeps its slot, so the results have to be brought
    note(f"P {ctx.run.id} {os.getppid()} {' '.join(map(str, await calls))}")


@task("blocks", max_duration="5s")
async def blocks(payload: str | int, ctx) -> None:
    time.sleep(3600)


@task("exits")
async def exits(payload: str | int, ctx) -> None:
    raise SystemExit(3)


@task("segfaults")
async def segfaults(payload: str | int, ctx) -> None:
    os.kill(os.getpid(), 11)
    await asyncio.Event().wait()
'''


class Fleet:
    """Processes on one database. Everything started here ends with it."""

    def __init__(
        self, root: Path, *, database: EmbeddedServer | None, url: str, key: str, ring: str
    ) -> None:
        self.root = root
        self.database = database
        self.url = url
        self.key = key
        self.effects = root / "effects"
        self._environ = {
            **os.environ,
            "OUTLAST_DATABASE_URL": url,
            "OUTLAST_ENCRYPTION_KEYS": ring,
            "OUTLAST_SECRET_KEY": key,
            "OUTLAST_DRAIN_SECONDS": "0",
            "FLEET_EFFECTS": str(self.effects),
        }
        self.struck = root / "struck"
        self._processes: list[Program] = []
        self.apis: list[str] = []

    async def server(self, *, plan: str = "", api: str | None = None, **environ: str) -> Program:
        """Start a server and wait until it is ready; the n-th process is called `fleet-n`.

        With a `plan` it breaks at commits (see `failing_server`); `api` starts one where another
        was.
        """
        if api is None:
            with socket.socket() as found:
                found.bind(("127.0.0.1", 0))
                api = f"http://127.0.0.1:{found.getsockname()[1]}"
        number = len(self._processes)
        process = self._start(
            "server",
            "--port",
            api.rpartition(":")[2],
            program=("-m", "outlast") if not plan else (str(FAILING_SERVER),),
            OUTLAST_SERVER_ID=f"fleet-{number}",
            FAILING_PLAN=plan,
            FAILING_STRUCK=str(self.struck),
            **environ,
        )
        async with httpx.AsyncClient(trust_env=False) as client:
            deadline = time.monotonic() + 60
            ready = False
            while not ready:
                assert time.monotonic() < deadline, self.logs()
                with suppress(httpx.TransportError):
                    ready = (await client.get(f"{api}/readyz")).status_code == 200
                await asyncio.sleep(0.05)
        if api not in self.apis:
            self.apis.append(api)
        return process

    async def worker(self, *options: str, apis: Sequence[str] = ()) -> Program:
        """Start a worker that knows all servers, or these, and wait until it is connected."""
        before = await self.count("select count(*) from outlast.session")
        arguments = ["worker", "--dir", str(self.root), "--key", "env:OUTLAST_SECRET_KEY", *options]
        for api in apis or self.apis:
            arguments += ["--api-url", api]
        process = self._start(*arguments)
        deadline = time.monotonic() + 30
        while await self.count("select count(*) from outlast.session") == before:
            assert time.monotonic() < deadline, self.logs()
            await asyncio.sleep(0.05)
        return process

    def _start(
        self, *arguments: str, program: tuple[str, ...] = ("-m", "outlast"), **environ: str
    ) -> Program:
        log = self.root / f"{len(self._processes)}-{arguments[0]}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *program, *arguments],
                env={**self._environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def logs(self) -> str:
        """Return the ends of all logs, for messages."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}"
            for path in sorted(self.root.glob("*.log"))
        )

    async def trigger(
        self, task: str, count: int = 1, payload: str | int | None = None
    ) -> list[str]:
        """Trigger runs through any server that answers; return their ids once acknowledged.

        Without a payload each gets its number.
        """
        if count > MOST_TRIGGERS:
            first = await self.trigger(task, MOST_TRIGGERS, payload)
            return first + await self.trigger(task, count - MOST_TRIGGERS, payload)
        triggers = [
            Trigger(
                task=task,
                payload=json.dumps(number if payload is None else payload),
                request_key=f"{task}-{time.time_ns()}-{number}",
            )
            for number in range(count)
        ]
        body = msgspec.json.encode(triggers)
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            for _ in range(20):
                for api in self.apis:
                    with suppress(httpx.TransportError):
                        answer = await client.post(
                            f"{api}/api/outlast/v1/triggers",
                            content=body,
                            headers={"authorization": f"Bearer {self.key}"},
                        )
                        if answer.status_code == 200:
                            made = msgspec.json.decode(answer.content, type=list[Triggered])
                            if not any(one.error for one in made):
                                return [one.run_id for one in made]
                await asyncio.sleep(0.2)
        raise AssertionError(f"nothing could be triggered\n{self.logs()}")

    async def all_ended(self, runs: list[str], seconds: float = 60) -> None:
        """Wait until every run has ended well."""
        await self.ended(runs, seconds)
        rows = await self.sql(
            "select distinct status from outlast.run_end where run_id = any($1::text[])", runs
        )
        assert {row["status"] for row in rows} == {"completed"}, rows

    async def ended(self, runs: list[str], seconds: float = 60) -> None:
        """Wait until every run has ended."""
        deadline = time.monotonic() + seconds
        ended = 0
        while time.monotonic() < deadline:
            with suppress(OSError, asyncpg.PostgresError):
                ended = await self.count(
                    "select count(*) from outlast.run_end where run_id = any($1::text[])", runs
                )
                if ended == len(runs):
                    break
            await asyncio.sleep(0.1)
        assert ended == len(runs), f"{ended} of {len(runs)} ended\n{self.logs()}"

    async def sql(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Look behind the curtain."""
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetch(statement, *values)
        finally:
            await connection.close()

    async def count(self, statement: str, *values: object) -> int:
        """Return a single number."""
        [row] = await self.sql(statement, *values)
        return int(row[0])

    async def moment(self) -> datetime:
        """Return the database's time."""
        [row] = await self.sql("select clock_timestamp() as now")
        now: datetime = row["now"]
        return now

    async def rescued_after(self, moment: datetime) -> float:
        """Return seconds from a moment to the first rescue after it."""
        [row] = await self.sql(
            "select min(at) from outlast.event where kind = 'rescued' and at > $1", moment
        )
        seconds: float = (row[0] - moment).total_seconds()
        return seconds

    async def socket_closed(self, seconds: float = 20) -> datetime:
        """Wait until a worker is given up; return when its socket was seen to close."""
        deadline = time.monotonic() + seconds
        given_up = "select closed_at from outlast.session where lost_at is not null"
        while not (rows := await self.sql(given_up)):
            assert time.monotonic() < deadline, self.logs()
            await asyncio.sleep(0.05)
        closed: datetime = rows[0]["closed_at"]
        return closed

    async def longest_pause_after(self, moment: datetime) -> float:
        """Return the most seconds that went by between two recorded steps, the later one after."""
        [row] = await self.sql(
            "select max(pause) from (select created_at, created_at - lag(created_at) over "
            "(order by created_at) as pause from outlast.entry where kind = 'step') p "
            "where created_at > $1",
            moment,
        )
        seconds: float = row[0].total_seconds()
        return seconds

    async def audit(self) -> list[Finding]:
        """Return what the audit finds in all environments."""
        settings = DatabaseSettings(url=self.url, pool_size=1)
        async with await Database.open(settings) as database:
            return await Audit(database).run_once()

    async def crash_database(self) -> None:
        """Kill one of its processes: PostgreSQL ends all others and recovers from its log."""
        [row] = await self.sql(
            "select pid from pg_stat_activity where backend_type = 'checkpointer'"
        )
        os.kill(row["pid"], signal.SIGKILL)

    @asynccontextmanager
    async def frozen_database(self) -> AsyncIterator[None]:
        """Stop every process of PostgreSQL for the block, as a failover or a full disk does."""
        rows = await self.sql("select pid from pg_stat_activity where pid <> pg_backend_pid()")
        assert self.database is not None
        postmaster = self.database._written_pid()
        assert postmaster is not None
        pids = [postmaster, *(row["pid"] for row in rows)]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(pids):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @asynccontextmanager
    async def stopped_database(self) -> AsyncIterator[None]:
        """End PostgreSQL for the block; processes of before do not find the new one."""
        assert self.database is not None
        await self.database.stop()
        try:
            yield
        finally:
            self.url = self._environ["OUTLAST_DATABASE_URL"] = await self.database.start()

    async def assert_whole(self, runs: list[str], seconds: float = 60) -> None:
        """Check what must hold after every fault."""
        await self.all_ended(runs, seconds)
        await self.assert_steps_held()
        children = await self.sql(
            "select parent_id, count(*) from outlast.run where parent_id is not null group by 1"
        )
        assert {row["parent_id"]: row["count"] for row in children} == dict.fromkeys(runs, 3)
        assert await self.audit() == []

    def strikes(self) -> list[str]:
        """Return where failing servers were struck, as `point:how`."""
        return self.struck.read_text().split() if self.struck.exists() else []

    def noted(self) -> list[list[str]]:
        """Return what the tasks wrote down, in order."""
        if not self.effects.exists():
            return []
        return [line.split() for line in self.effects.read_text().splitlines()]

    async def assert_steps_held(self) -> None:
        """Check that no step whose result the code received ran again or gave another one.

        One interrupted before that may run twice, under the same token; it is recorded once.
        """
        received: dict[tuple[str, str], set[str]] = defaultdict(set)
        tokens: dict[tuple[str, str], set[str]] = defaultdict(set)
        for kind, run, name, *rest in self.noted():
            if kind == "S":
                assert (run, name) not in received, f"step {name} of {run} ran after its result"
                tokens[run, name].add(rest[1])
            elif kind == "R":
                received[run, name].add(rest[0])
        assert {len(values) for values in received.values()} <= {1}
        assert {len(values) for values in tokens.values()} <= {1}
        assert len(set().union(*tokens.values())) == len(tokens)
        recorded: dict[tuple[str, str], list[str]] = defaultdict(list)
        for row in await self.sql(
            "select run_id, name, outcome from outlast.entry where kind = 'step'"
        ):
            outcome = msgspec.json.decode(row["outcome"], type=Outcome)
            recorded[row["run_id"], row["name"]].append(json.loads(outcome.value or "null"))
        assert {step: list(values) for step, values in received.items()} == recorded

    def executors(self) -> list[int]:
        """Return the pids of all executors of this fleet."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                if b"outlast.worker.executor" in command and str(self.root).encode() in command:
                    found.append(int(entry.name))
        return found

    async def some_effects(self, count: int) -> None:
        """Wait until the tasks are in the middle of it."""
        await until(lambda: len(self.noted()) >= count, seconds=30, what=self.logs())

    def close(self) -> None:
        """End everything that still runs."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for pid in self.executors():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@asynccontextmanager
async def fleet(
    root: Path, tasks: str = TASKS, environment: str = "dev", *, url: str = ""
) -> AsyncIterator[Fleet]:
    """Give a fleet without servers and workers yet, on the migrated database of a `url`.

    Without one it brings a PostgreSQL of its own, which can be struck too.
    """
    (root / "trigger").mkdir()
    (root / "trigger" / "tasks.py").write_text(tasks)
    (root / "pyproject.toml").write_text('[tool.outlast]\nproject = "proj_fleet"\n')
    async with AsyncExitStack() as stack:
        database = None if url else EmbeddedServer(root / ".outlast", binaries=wheel_binaries())
        if database is not None:
            url = await database.start()
            stack.push_async_callback(database.stop)
        ring = KeyRing.generate()
        settings = DatabaseSettings(url=url, pool_size=2)
        async with await Database.open(settings) as opened:
            if database is not None:
                await migrate(opened)
            tenancy = Tenancy(opened, Keys(opened, KeyRing((ring,))))
            made = await tenancy.create_project("fleet", ref="proj_fleet")
        key = made.keys[environment]
        found = Fleet(root, database=database, url=url, key=key, ring=ring)
        stack.callback(found.close)
        yield found
