"""The workers' side of the engine: sessions opened, frames applied, heartbeats committed."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from weakref import WeakValueDictionary

from outlast.engine.access import Access
from outlast.engine.catalogue import Catalogue
from outlast.engine.claims import Place
from outlast.engine.cycles import Cycles
from outlast.engine.database import Database
from outlast.engine.errors import Refused, Unavailable
from outlast.engine.journal import JournalWriter
from outlast.engine.link import Admit, Link, Restart
from outlast.engine.liveness import SESSIONS, Beats, Sweep
from outlast.engine.sessions import Deliver, Session, Sessions
from outlast.engine.streams import Streams
from outlast.engine.tenancy import Environment, Tenancy
from outlast.engine.waitpoints import Waitpoints
from outlast.engine.workers import Workers
from outlast.protocol.frames import LEASE_SECONDS, Frame
from outlast.protocol.ids import Prefix
from outlast.protocol.messages import Beat, Heartbeat, Hello, Welcome, held_digest
from outlast.protocol.triggers import Refusal

_MISMATCHES_BEFORE_LIST = 2
_PAUSE_SECONDS = 0.2


class Gateway:
    """Takes workers in, and what they say."""

    def __init__(
        self,
        database: Database,
        *,
        server: str,
        catalogue: Catalogue,
        tenancy: Tenancy,
        cycles: Cycles,
        sessions: Sessions,
        workers: Workers,
        journal: JournalWriter,
        sweep: Sweep,
        admit: Admit,
        restart: Restart,
        new_id: Callable[[Prefix], str],
        waitpoints: Waitpoints,
        streams: Streams,
        version_arrived: Callable[[str], Awaitable[None]],
        access: Access,
    ) -> None:
        self._database = database
        self._server = server
        self._catalogue = catalogue
        self._tenancy = tenancy
        self._cycles = cycles
        self._sessions = sessions
        self._workers = workers
        self._journal = journal
        self._beats = Beats(database)
        self._sweep = sweep
        self._admit = admit
        self._restart = restart
        self._new_id = new_id
        self._waitpoints = waitpoints
        self._streams = streams
        self._version_arrived = version_arrived
        self._access = access
        self._links: dict[str, Link] = {}
        self._doors: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def open(
        self, environment: Environment, hello: Hello, deliver: Deliver, *, api_url: str = ""
    ) -> Welcome:
        """Take a worker in, with its code as a version. Raises `Refused`.

        `api_url` is where the API is reached from outside.
        """
        _check_names(hello)
        registered = await self._catalogue.register(environment.id, hello.manifest)
        place = Place(
            environment.id,
            environment.slug,
            environment.project_ref,
            project_name=environment.project_name,
            api_url=api_url,
        )
        session = Session(
            session_id=hello.session,
            version_id=registered.version.id,
            version_name=registered.version.name,
            place=place,
            capacity=hello.capacity,
            deliver=deliver,
        )
        before = await self._enter(environment, hello, session)
        self._links[hello.session] = Link(
            session,
            cycle=self._cycles.of(environment.id),
            journal=self._journal,
            admit=self._admit,
            restart=self._restart,
            new_id=self._new_id,
            waitpoints=self._waitpoints,
            streams=self._streams,
        )
        await self._workers.refresh_versions()
        await self._workers.holdings.reconcile(session, hello.held, arrives=before is None)
        if registered.is_current:
            await self._version_arrived(environment.id)
        self._cycles.of(environment.id).wake()
        return Welcome(
            server=self._server,
            environment=environment.id,
            environment_slug=environment.slug,
            project=environment.project_ref,
            version=registered.version.name,
            access=await self._access.lend(environment, hello.session),
        )

    async def _enter(
        self, environment: Environment, hello: Hello, session: Session
    ) -> Session | None:
        """Note that a session is connected here, and return what an earlier socket left of it."""
        async with self._door(session.id):
            opened = await self._database.fetch_value(
                SESSIONS.open_session,
                session=session.id,
                environment=environment.id,
                version=session.version_id,
                server=self._server,
                name=hello.name,
                host=hello.host,
                pid=hello.pid,
            )
            if opened is None:
                raise Refused(
                    Refusal(409, "session_lost", "the session was declared lost; begin a new one")
                )
            before = self._sessions.get(session.id)
            if before is not None:
                session.inherit(before)
            self._sessions.add(session)
            return before

    def _door(self, session: str) -> asyncio.Lock:
        """Return what a session's opening and its closing take turns by."""
        return self._doors.setdefault(session, asyncio.Lock())

    def receive(self, session: str, frames: Sequence[Frame]) -> None:
        """Apply a worker's frames; answers come through its `deliver`."""
        link = self._links.get(session)
        if link is not None:
            link.receive(frames)

    async def heartbeat(self, session: str, heartbeat: Heartbeat) -> Beat:
        """Commit a heartbeat. Raises `Refused` when the session was declared lost meanwhile."""
        if not await self._beats.beat(session, heartbeat.vitals):
            raise Refused(
                Refusal(409, "session_lost", "the session was declared lost; begin a new one")
            )
        found = self._sessions.get(session)
        if found is None:
            return Beat()
        if heartbeat.held is not None and held_digest(heartbeat.held) != found.digest():
            await self._workers.holdings.reconcile(found, heartbeat.held)
            found.mismatches = 0
        found.mismatches = found.mismatches + 1 if heartbeat.digest != found.digest() else 0
        environment = await self._tenancy.environment_by_id(found.place.environment)
        if environment is None:
            return Beat()
        due = self._access.is_due(session)
        return Beat(
            list_held=found.mismatches >= _MISMATCHES_BEFORE_LIST,
            access=await self._access.lend(environment, session) if due else "",
            variables=environment.variables_revision,
        )

    async def close(self, session: str, *, goodbye: bool) -> None:
        """Hear that a worker's socket closed; without goodbye it has 5 s to come back."""
        found = self._sessions.get(session)
        link = self._links.pop(session, None)
        self._access.end(session)
        if found is not None:
            found.set_capacity({})  # nothing more is claimed for it
            if not goodbye:
                await self._note_closed(found)
        if link is not None:
            await link.settle()
        if found is not None:
            self._sessions.remove(found)
        if goodbye:
            await self._database.execute(SESSIONS.lose_session, session=session)
            await self._sweep.run_once()

    async def _note_closed(self, session: Session) -> None:
        """Begin a session's 5 s, unless it is back; without a database its lease runs out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEASE_SECONDS):
                while True:
                    async with self._door(session.id):
                        if self._sessions.get(session.id) is not session:
                            return
                        with contextlib.suppress(Unavailable):
                            await self._database.execute(
                                SESSIONS.close_session, session=session.id, server=self._server
                            )
                            return
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def settle(self, seconds: float) -> None:
        """Wait, but no longer than this, until everything received is applied."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(link.settle() for link in self._links.values()))


def _check_names(hello: Hello) -> None:
    if "\0" in f"{hello.session}{hello.name}{hello.host}":
        raise Refused(
            Refusal(400, "invalid_hello", "a name of the worker has a NUL in it; rename it")
        )
