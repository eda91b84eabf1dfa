"""The engine as servers and tests see it: composes its parts and holds no rule of its own."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Self

import msgspec

from outlast.engine.admission import Admission
from outlast.engine.agents import Agents
from outlast.engine.audit import Audit
from outlast.engine.batches import Added, Batch, Batches
from outlast.engine.catalogue import Catalogue
from outlast.engine.claims import Place
from outlast.engine.cycle import Cycle
from outlast.engine.database import Database, DatabaseSettings
from outlast.engine.errors import EngineError, NotFound, Overloaded, Refused, Unavailable
from outlast.engine.journal import JournalWriter
from outlast.engine.keys import KeyRing, Keys
from outlast.engine.limits import Limits
from outlast.engine.link import Link
from outlast.engine.liveness import SESSIONS, Beats, Sweep
from outlast.engine.migrations import check, migrate
from outlast.engine.notices import Notices
from outlast.engine.runs import Runs
from outlast.engine.sessions import Deliver, Session, Sessions
from outlast.engine.tenancy import Environment, Tenancy
from outlast.engine.tokens import Tokens
from outlast.engine.turn import Cancellation, Item, NewRun, Resumption, Telling
from outlast.engine.versions import GRACE_SECONDS, Versions
from outlast.engine.workers import Workers
from outlast.protocol.frames import Beat, Frame, Heartbeat, Hello, Welcome, held_digest
from outlast.protocol.ids import Prefix, new_id
from outlast.protocol.triggers import Refusal, Trigger, Triggered

logger = logging.getLogger(__name__)

MOST_TURNS_IN_FLIGHT = 8
_POLL_SECONDS = 1.0
_AUDIT_SECONDS = 60.0
_VERSIONS_SECONDS = 5.0
_LIMITS_SECONDS = 5.0
_MISMATCHES_BEFORE_LIST = 2


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine needs to know. `server_id` is unique among the servers of a database."""

    database_url: str
    server_id: str
    encryption_keys: tuple[str, ...]
    migrate: bool = True
    pooler: bool = False
    version_grace: float | None = GRACE_SECONDS
    """Seconds that runs wait for a worker of their version; None: for ever."""
    clock: Callable[[], datetime | None] | None = None
    """Tests own durable time through this; None: the database's clock."""


class Engine:
    """The platform's truth: runs, queues, workers and time on PostgreSQL."""

    def __init__(self, database: Database, settings: EngineSettings) -> None:
        self.settings = settings
        self.database = database
        self.keys = Keys(database, KeyRing(settings.encryption_keys))
        self.tenancy = Tenancy(database, self.keys)
        self.tokens = Tokens(database, self.keys, self.tenancy)
        self.catalogue = Catalogue(database)
        self.runs = Runs(database)
        self.batches = Batches(database)
        self.admission = Admission(database, self.catalogue, self.milliseconds)
        self.sessions = Sessions()
        self._journal = JournalWriter(database)
        self._beats = Beats(database)
        self._sweep = Sweep(database, submit=self._submit)
        self._audit = Audit(database)
        self._versions = Versions(database, submit=self._submit, grace=settings.version_grace)
        self._limits = Limits(database, submit=self._submit)
        self._turns = asyncio.Semaphore(MOST_TURNS_IN_FLIGHT)
        self._cycles: dict[str, Cycle] = {}
        self._links: dict[str, Link] = {}
        self._enders: dict[str, set[asyncio.Event]] = {}
        self._agents = Agents()
        self._offset = 0.0
        self._notices = Notices(database, server=settings.server_id, heard=self._heard)
        self._workers = Workers(
            database,
            sessions=self.sessions,
            submit=self._submit,
            remote=self._notices.tell,
            ended=self._ended,
        )

    @classmethod
    async def open(cls, settings: EngineSettings) -> Self:
        """Return an engine whose agents run. Raises `Unavailable`, `SchemaMismatch`."""
        database = await Database.open(
            DatabaseSettings(url=settings.database_url, pooler=settings.pooler)
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
        """Finish what is in flight and stop."""
        await self._agents.close()
        for link in self._links.values():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await link.settle()
        await asyncio.gather(*(cycle.close() for cycle in self._cycles.values()))
        await self._journal.close()
        await self._notices.close()
        await self.database.close()

    async def ready(self) -> None:
        """Raise `Unavailable` unless the database answers; learn its clock."""
        before = time.time()
        moment = await self.database.fetch_value(SESSIONS.milliseconds)
        if not isinstance(moment, int):
            raise Unavailable("the database does not tell the time")
        self._offset = moment / 1000 - (before + time.time()) / 2

    def milliseconds(self) -> int:
        """Return the database's clock, as far as this server knows it."""
        return int((time.time() + self._offset) * 1000)

    def new_id(self, prefix: Prefix) -> str:
        """Return a new id, ordered by the database's clock."""
        return new_id(prefix, self.milliseconds())

    # ── callers ───────────────────────────────────────────────────────────────────────────────

    async def trigger(
        self, environment: Environment, triggers: Sequence[Trigger]
    ) -> list[Triggered]:
        """Create runs and return when they are on disk. Each item has its own answer."""
        admitted = await self.admission.admit(environment, triggers)
        return await self._create(environment.id, admitted)

    async def _create(
        self, environment: str, admitted: Sequence[NewRun | Refusal]
    ) -> list[Triggered]:
        answers = await self._cycle(environment).ask_all(
            [one for one in admitted if isinstance(one, NewRun)]
        )
        rest = iter(answers)
        return [
            Triggered(error=one) if isinstance(one, Refusal) else _triggered(next(rest))
            for one in admitted
        ]

    async def cancel(self, environment: Environment, run: str, reason: str = "") -> None:
        """Cancel a run and what it triggered; an ended one is left alone. Raises `NotFound`."""
        await self.runs.retrieve(environment.id, run)
        await self._cycle(environment.id).ask(Cancellation(run=run, reason=reason))

    async def resume(self, environment: Environment, run: str) -> None:
        """Try a run again that is parked because it could not replay. Raises `Conflict`."""
        await self.runs.require_parked(environment.id, run)
        await self._cycle(environment.id).ask(Resumption(run=run))

    async def wait_end(self, environment: Environment, run: str, seconds: float) -> bool:
        """Wait until a run has ended, at most `seconds`; return whether it has."""
        event = asyncio.Event()
        self._enders.setdefault(run, set()).add(event)
        deadline = time.monotonic() + seconds
        try:
            while True:
                if await self.runs.has_ended(environment.id, run):
                    return True
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                with contextlib.suppress(TimeoutError):  # another server may have ended it
                    async with asyncio.timeout(min(left, _POLL_SECONDS)):
                        await event.wait()
        finally:
            self._enders[run].discard(event)
            if not self._enders[run]:
                del self._enders[run]

    async def create_batch(
        self, environment: Environment, size: int, *, idempotency_key: str | None = None
    ) -> tuple[Batch, bool]:
        """Make a batch to be filled, or return the one that holds the key (the flag is true)."""
        return await self.batches.create(
            environment.id, self.new_id("batch"), size, idempotency_key=idempotency_key
        )

    async def add_batch_items(
        self, environment: Environment, batch: str, items: Sequence[tuple[int, Trigger]]
    ) -> Added:
        """Trigger items of a batch; an index that is there already is not made again."""
        found = await self.batches.retrieve(environment.id, batch)
        present = await self.batches.present(batch)
        fresh = [(index, one) for index, one in items if index not in present]
        admitted = await self.admission.admit(environment, [one for _, one in fresh])
        bound = [
            msgspec.structs.replace(
                one,
                batch=batch,
                trigger_function="batchTrigger",
                request_key=f"{batch}/{index}",  # a repeated stream finds what it made
            )
            if isinstance(one, NewRun)
            else one
            for (index, _), one in zip(fresh, admitted, strict=True)
        ]
        made = await self._create(environment.id, bound)
        if fresh:
            await self.batches.record(batch, [(i, one.task) for i, one in fresh], made)
        sealed = len(present) + len(fresh) >= found.size
        return Added(len(fresh), len(items) - len(fresh), sealed)

    # ── workers ───────────────────────────────────────────────────────────────────────────────

    async def open_session(
        self, environment: Environment, hello: Hello, deliver: Deliver
    ) -> Welcome:
        """Take a worker in, with its code as a version. Raises `Refused`."""
        registered = await self.catalogue.register(environment.id, hello.manifest)
        opened = await self.database.fetch_value(
            SESSIONS.open_session,
            session=hello.session,
            environment=environment.id,
            version=registered.version.id,
            server=self.settings.server_id,
            name=hello.name,
            host=hello.host,
            pid=hello.pid,
        )
        if opened is None:
            raise Refused(
                Refusal(409, "session_lost", "the session was declared lost; begin a new one")
            )
        place = Place(environment.id, environment.slug, environment.project_ref)
        before = self.sessions.get(hello.session)
        session = Session(
            session_id=hello.session,
            version_id=registered.version.id,
            place=place,
            capacity=hello.capacity,
            deliver=deliver,
        )
        if before is not None:
            session.executing = before.executing
            session.parked = before.parked
        self.sessions.add(session)
        self._links[hello.session] = Link(
            session,
            cycle=self._cycle(environment.id),
            journal=self._journal,
            admit=self._admit,
            new_id=self.new_id,
        )
        await self._workers.refresh_versions()
        await self._workers.reconcile(session, hello.held)
        if registered.is_current:
            await self._resume_parked(environment.id)
        self._cycle(environment.id).wake()
        return Welcome(
            server=self.settings.server_id,
            environment=environment.id,
            environment_slug=environment.slug,
            project=environment.project_ref,
            version=registered.version.name,
        )

    def receive(self, session: str, frames: Sequence[Frame]) -> None:
        """Apply a worker's frames; answers come through its `deliver`."""
        link = self._links.get(session)
        if link is not None:
            link.receive(frames)

    async def heartbeat(self, session: str, heartbeat: Heartbeat) -> Beat:
        """Commit a heartbeat. Raises `Refused` when the session was declared lost meanwhile."""
        if not await self._beats.beat(session):
            raise Refused(
                Refusal(409, "session_lost", "the session was declared lost; begin a new one")
            )
        found = self.sessions.get(session)
        if found is None:
            return Beat()
        if heartbeat.held is not None and held_digest(heartbeat.held) != found.digest():
            await self._workers.reconcile(found, heartbeat.held)
            found.mismatches = 0
        found.mismatches = found.mismatches + 1 if heartbeat.digest != found.digest() else 0
        return Beat(list_held=found.mismatches >= _MISMATCHES_BEFORE_LIST)

    async def close_session(self, session: str, *, goodbye: bool) -> None:
        """Hear that a worker's socket closed; without goodbye it has 5 s to come back."""
        found = self.sessions.get(session)
        link = self._links.pop(session, None)
        if link is not None:
            await link.settle()
        if found is not None:
            self.sessions.remove(found)
        if not goodbye:
            await self.database.execute(
                SESSIONS.close_session, session=session, server=self.settings.server_id
            )
            return
        await self.database.execute(SESSIONS.lose_session, session=session)
        await self._sweep.run_once()

    # ── agents ────────────────────────────────────────────────────────────────────────────────

    def _start(self) -> None:
        self._notices.start()
        self._agents.repeat("poll", self._poll, _POLL_SECONDS)
        self._agents.repeat("sweep", self._sweep.run_once, _POLL_SECONDS)
        self._agents.repeat("versions", self._versions.run_once, _VERSIONS_SECONDS)
        self._agents.repeat("elect", self._elect, _VERSIONS_SECONDS)
        self._agents.repeat("tokens", self.tokens.prune, _AUDIT_SECONDS)
        self._agents.repeat("limits", self._limits.run_once, _LIMITS_SECONDS)
        self._agents.repeat("audit", self._audit.run_once, _AUDIT_SECONDS)

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
            self._cycle(row.id).wake()
        await self._workers.deliver_mail()

    def _cycle(self, environment: str) -> Cycle:
        cycle = self._cycles.get(environment)
        if cycle is None:
            cycle = self._cycles[environment] = Cycle(
                environment,
                database=self.database,
                workers=self._workers,
                server=self.settings.server_id,
                turns=self._turns,
                clock=self.settings.clock or _no_clock,
                left_work=self._notices.tell,
            )
        return cycle

    def _submit(self, environment: str, item: Item) -> None:
        self._cycle(environment).submit(item)

    def _heard(self, environment: str) -> None:
        if self.sessions.of(environment):
            self._cycle(environment).wake()
            self._agents.once(self._workers.deliver_mail())

    def _ended(self, run: str) -> None:
        for event in self._enders.get(run, ()):
            event.set()

    async def _admit(self, environment: str, triggers: Sequence[Trigger]) -> list[NewRun | Refusal]:
        found = await self.tenancy.environment_by_id(environment)
        if found is None:
            raise NotFound(f"there is no environment {environment!r}")
        return await self.admission.admit(found, triggers)

    async def _elect(self) -> None:
        for changed in await self.catalogue.elect():
            await self._resume_parked(changed)

    async def _resume_parked(self, environment: str) -> None:
        """Try again what could not replay on another version: the current one may fit."""
        for run in await self.runs.parked(environment):
            self._submit(environment, Resumption(run=run))


class _Environment(msgspec.Struct, frozen=True):
    id: str


def _triggered(answer: list[Telling] | EngineError) -> Triggered:
    if isinstance(answer, Unavailable | Overloaded):
        raise answer  # nothing is decided: the caller repeats the request under its key
    if isinstance(answer, EngineError):
        return Triggered(error=Refusal(422, answer.code, str(answer)))
    return Triggered(answer[0].run or "", is_cached=answer[0].data == "true")


def _no_clock() -> None:
    return None
