"""The engine as servers and tests see it: composes its parts and holds no rule of its own."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Self

import msgspec

from outlast.engine.access import Access
from outlast.engine.activity import Activity
from outlast.engine.admission import Admission
from outlast.engine.agents import Agents
from outlast.engine.alerts import Alerts
from outlast.engine.arrivals import Arrivals
from outlast.engine.audit import Audit
from outlast.engine.batches import Batches
from outlast.engine.bulk import BulkActions
from outlast.engine.catalogue import Catalogue
from outlast.engine.changes import Changes
from outlast.engine.cycles import Cycles
from outlast.engine.database import Database, DatabaseSettings
from outlast.engine.deliveries import Deliveries, Send
from outlast.engine.ends import Ends
from outlast.engine.errors import Conflict, EngineError
from outlast.engine.failures import Failures
from outlast.engine.gateway import Gateway
from outlast.engine.ids import Ids
from outlast.engine.journal import JournalWriter
from outlast.engine.keys import KeyRing, Keys
from outlast.engine.limits import Limits
from outlast.engine.liveness import SESSIONS, Sweep
from outlast.engine.migrations import check, migrate
from outlast.engine.notices import Notices
from outlast.engine.objects import ObjectSettings, ObjectStore
from outlast.engine.packets import DatabaseStore, Packets
from outlast.engine.queues import Queues
from outlast.engine.replays import Replays
from outlast.engine.reports import Reports
from outlast.engine.retention import Retention
from outlast.engine.runs import Runs
from outlast.engine.schedules import Schedules
from outlast.engine.sessions import Sessions
from outlast.engine.statistics import Statistics
from outlast.engine.streams import POLL_SECONDS as STREAMS_SECONDS
from outlast.engine.streams import Streams
from outlast.engine.tenancy import Environment, Tenancy
from outlast.engine.ticks import Ticks
from outlast.engine.tokens import Token, Tokens
from outlast.engine.triggers import Triggers
from outlast.engine.turn import Cancellation, Rescheduling, Resumption
from outlast.engine.users import Users
from outlast.engine.variables import Variables
from outlast.engine.versions import GRACE_SECONDS, Versions
from outlast.engine.waitpoints import Waitpoints
from outlast.engine.workers import Workers
from outlast.protocol.triggers import Trigger, Triggered

_POLL_SECONDS = 1.0
_AUDIT_SECONDS = 60.0
_VERSIONS_SECONDS = 5.0
_LIMITS_SECONDS = 5.0
_STATISTICS_SECONDS = 10.0
_PRUNE_SECONDS = 600.0
_RETENTION_SECONDS = 600.0
_OBJECTS_SECONDS = 6 * 3600.0
_SETTLE_SECONDS = 2.0


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine needs to know. `server_id` is unique among the servers of a database."""

    database_url: str
    server_id: str
    encryption_keys: tuple[str, ...]
    migrate: bool = True
    pool_size: int = 16
    """Connections to the database, beside the one that listens."""
    pooler: bool = False
    version_grace: float | None = GRACE_SECONDS
    """Seconds that runs wait for a worker of their version; None: for ever."""
    objects: ObjectSettings | None = None
    """An S3-compatible store for packets; None: they lie in the database."""
    clock: Callable[[], datetime | None] | None = None
    """Tests own durable time through this; None: the database's clock."""


class Engine:
    """The platform's truth: runs, queues, workers and time on PostgreSQL."""

    def __init__(self, database: Database, settings: EngineSettings) -> None:
        self.settings = settings
        self.database = database
        self._agents = Agents()
        self._deliveries: Deliveries | None = None
        self._compose_reads()
        self._compose_cycles()
        self._compose_requests()
        self._compose_workers()

    def _compose_reads(self) -> None:
        """Make what tells who there is, what they offer, and what has become of runs."""
        database = self.database
        self.ids = Ids(database)
        self._ring = KeyRing(self.settings.encryption_keys)
        self.keys = Keys(database, self._ring)
        self.tenancy = Tenancy(database, self.keys)
        self.tokens = Tokens(database, self.keys, self.tenancy)
        self.users = Users(database, self.ids)
        self.variables = Variables(database, self._ring, self.keys)
        self.alerts = Alerts(database, ring=self._ring, ids=self.ids)
        self.catalogue = Catalogue(database)
        self.runs = Runs(database)
        self.reports = Reports(database, self.runs)
        self.ends = Ends(self.runs)
        self.changes = Changes(database)

    def _compose_cycles(self) -> None:
        """Make what moves runs between states."""
        database, settings = self.database, self.settings
        self.sessions = Sessions()
        self._notices = Notices(
            database,
            server=settings.server_id,
            heard=self._heard,
            keys_changed=self.keys.forget,
        )
        self.cycles = Cycles(
            database,
            server=settings.server_id,
            clock=settings.clock,
            left_work=self._notices.tell,
        )
        self.waitpoints = Waitpoints(
            database, ids=self.ids, ring=self._ring, tokens=self.tokens, cycles=self.cycles
        )
        self.streams = Streams(database, cycles=self.cycles)
        clock = settings.clock or _no_clock
        self.statistics = Statistics(database, environments=self.cycles.environments, clock=clock)
        self.failures = Failures(database, clock=clock)
        self.activity = Activity(database, failures=self.failures, clock=clock)
        self._workers = self.cycles.workers = Workers(
            database,
            sessions=self.sessions,
            submit=self.cycles.submit,
            remote=self._notices.tell,
            ended=self._ended,
            started=self.statistics.started,
            reveal=self.waitpoints.reveal_entries,
        )

    def _compose_requests(self) -> None:
        """Make what callers and clocks ask for."""
        database, settings = self.database, self.settings
        self.admission = Admission(database, self.catalogue, self.ids.milliseconds)
        self._packets = DatabaseStore(database)
        self._objects = None if settings.objects is None else ObjectStore(settings.objects)
        self.packets = Packets(self._objects or self._packets, self._ring)
        self.triggers = Triggers(
            admission=self.admission,
            packets=self.packets,
            tenancy=self.tenancy,
            cycles=self.cycles,
        )
        self.queues = Queues(
            database,
            catalogue=self.catalogue,
            tenancy=self.tenancy,
            wake=self.cycles.wake,
            tell=self._notices.tell,
        )
        self._arrivals = Arrivals(
            database, catalogue=self.catalogue, tenancy=self.tenancy, cycles=self.cycles
        )
        self.batches = Batches(database, ids=self.ids, triggers=self.triggers)
        self.replays = Replays(database, triggers=self.triggers)
        self.bulk = BulkActions(
            database,
            server=settings.server_id,
            ids=self.ids,
            tenancy=self.tenancy,
            runs=self.runs,
            replays=self.replays,
            cycles=self.cycles,
        )
        self.schedules = Schedules(
            database, ids=self.ids, catalogue=self.catalogue, clock=settings.clock
        )
        self.ticks = Ticks(
            database,
            ids=self.ids,
            tenancy=self.tenancy,
            catalogue=self.catalogue,
            triggers=self.triggers,
            clock=settings.clock,
        )
        self.retention = Retention(database, clock=settings.clock or _no_clock)

    def _compose_workers(self) -> None:
        """Make what executes runs, and what watches over them."""
        database, settings = self.database, self.settings
        self._journal = JournalWriter(database)
        self._sweep = Sweep(database, submit=self.cycles.submit)
        self._audit = Audit(database)
        self._limits = Limits(database, submit=self.cycles.submit)
        self._versions = Versions(database, submit=self.cycles.submit, grace=settings.version_grace)
        self.gateway = Gateway(
            database,
            server=settings.server_id,
            catalogue=self.catalogue,
            tenancy=self.tenancy,
            cycles=self.cycles,
            sessions=self.sessions,
            workers=self._workers,
            journal=self._journal,
            sweep=self._sweep,
            admit=self.triggers.admit_by_id,
            restart=self.admission.restart,
            new_id=self.ids.new,
            waitpoints=self.waitpoints,
            streams=self.streams,
            version_arrived=self._resume_parked,
            access=Access(self.tokens, self.keys),
        )

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Return an engine whose agents run. Raises `Unavailable`, `SchemaMismatch`."""
        database = await Database.open(
            DatabaseSettings(
                url=settings.database_url, pool_size=settings.pool_size, pooler=settings.pooler
            )
        )
        try:
            await (migrate(database) if settings.migrate else check(database))
            engine = cls(database, settings)
            await engine.ready()
        except BaseException:
            await database.close()
            raise
        engine._start()
        return engine

    async def close(self) -> None:
        """Finish what is in flight and stop; a database that is away is waited for 15 s in all."""
        # What does not need each other waits together: each may have to give up a connection.
        await asyncio.gather(
            self._agents.close(), self.changes.close(), self.gateway.settle(_SETTLE_SECONDS)
        )
        if self._deliveries is not None:
            await self._deliveries.close()
        await asyncio.gather(
            self.cycles.close(_SETTLE_SECONDS),
            self._journal.close(_SETTLE_SECONDS),
            self.streams.close(_SETTLE_SECONDS),
        )
        with contextlib.suppress(EngineError, TimeoutError):  # statistics: not worth a long wait
            async with asyncio.timeout(_SETTLE_SECONDS):
                await self.activity.flush()
        await self._notices.close()
        await self.database.close()

    async def ready(self) -> None:
        """Raise `Unavailable` unless the database answers; learn its clock."""
        await self.ids.learn()

    # ── callers ───────────────────────────────────────────────────────────────────────────────

    async def trigger(
        self,
        environment: Environment,
        triggers: Sequence[Trigger],
        *,
        spend: Token | None = None,
    ) -> list[Triggered]:
        """Create runs and return when they are on disk. Each item has its own answer."""
        return await self.triggers.trigger(environment, triggers, spend=spend)

    async def cancel(self, environment: Environment, run: str, reason: str = "") -> None:
        """Cancel a run and what it triggered; an ended one is left alone. Raises `NotFound`."""
        await self.runs.retrieve(environment.id, run)
        await self.cycles.of(environment.id).ask(Cancellation(run=run, reason=reason))

    async def reschedule(
        self,
        environment: Environment,
        run: str,
        *,
        delay: float | None = None,
        delay_until: float | None = None,
    ) -> None:
        """Let a delayed run start at another moment. Raises `NotFound`, `Conflict`."""
        item = Rescheduling(run=run, delay=delay, delay_until=delay_until)
        [answer] = await self.cycles.of(environment.id).ask(item)
        if answer.data != "true":
            found = await self.runs.retrieve(environment.id, run)
            raise Conflict(f"run {run} is {found.status}; only a delayed one is rescheduled")

    async def resume(self, environment: Environment, run: str) -> None:
        """Try a run again that is parked because it could not replay. Raises `Conflict`."""
        await self.runs.require_parked(environment.id, run)
        await self.cycles.of(environment.id).ask(Resumption(run=run))

    def deliver_alerts(self, send: Send) -> None:
        """Tell what alerts have to tell, from now on, in the way that the server brings."""
        found = self._deliveries = Deliveries(
            self.database, alerts=self.alerts, send=send, clock=self.settings.clock or _no_clock
        )
        self._agents.repeat("alerts", found.run_once, _POLL_SECONDS)
        self._agents.tidy("prune alerts", found.prune, _PRUNE_SECONDS)

    # ── agents ────────────────────────────────────────────────────────────────────────────────

    def _start(self) -> None:
        self._notices.start()
        self._agents.repeat("poll", self._poll, _POLL_SECONDS)
        self._agents.repeat("sweep", self._sweep.run_once, _POLL_SECONDS)
        self._agents.repeat("versions", self._versions.run_once, _VERSIONS_SECONDS)
        self._agents.repeat("elect", self._elect, _VERSIONS_SECONDS)
        self._agents.tidy("packets", self._packets.prune, _AUDIT_SECONDS)
        self._agents.tidy("tokens", self.tokens.prune, _AUDIT_SECONDS)
        self._agents.tidy("sign-ins", self.users.prune, _AUDIT_SECONDS)
        self._agents.repeat("limits", self._limits.run_once, _LIMITS_SECONDS)
        self._agents.repeat("ticks", self.ticks.run_once, _POLL_SECONDS)
        self._agents.tidy("retention", self.retention.run_once, _RETENTION_SECONDS)
        self._agents.repeat("streams", self.streams.poll, STREAMS_SECONDS)
        self._agents.tidy("objects", self._prune_objects, _OBJECTS_SECONDS)
        self._agents.repeat("bulk", self.bulk.run_once, _POLL_SECONDS)
        self._agents.repeat("statistics", self.statistics.flush, _STATISTICS_SECONDS)
        self._agents.tidy("prune statistics", self.statistics.prune, _PRUNE_SECONDS)
        self._agents.repeat("activity", self.activity.flush, _STATISTICS_SECONDS)
        self._agents.tidy("prune activity", self.activity.prune, _PRUNE_SECONDS)
        self._agents.tidy("audit", self._audit.run_once, _AUDIT_SECONDS)

    def _ended(self, environment: str, run: str, status: str) -> None:
        self.ends.ended(run)
        self.activity.ended(environment, run, status)
        self.changes.ended(environment, run)

    async def _poll(self) -> None:
        """One look per second over all environments: due timers, ready work, mail, versions."""
        await self._workers.refresh_versions()
        clock = self.settings.clock
        rows = await self.database.fetch(
            _Environment,
            SESSIONS.needy,
            environments=self.sessions.environments(),
            clock=clock() if clock is not None else None,
        )
        for row in rows:
            self.cycles.wake(row.id)
        await self._workers.deliver_mail()

    def _heard(self, environment: str) -> None:
        if self.sessions.of(environment):
            self.cycles.wake(environment)
            self._agents.once(self._workers.deliver_mail())

    async def _prune_objects(self) -> None:
        if self._objects is not None:
            found = await self.tenancy.environments()
            await self._objects.prune([environment.id for environment in found])

    async def _elect(self) -> None:
        for changed in await self.catalogue.elect():
            await self._resume_parked(changed)

    async def _resume_parked(self, environment: str) -> None:
        """Try again what could not replay or start on another version: the current one may fit."""
        await self._arrivals.look(environment)
        for run in await self.runs.parked(environment):
            self.cycles.submit(environment, Resumption(run=run))


def _no_clock() -> None:
    return None


class _Environment(msgspec.Struct, frozen=True):
    id: str
