"""What committed turns decided, brought to the workers: claims, results, cancels and drops."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from outlast.engine.claims import (
    Claimed,
    Past,
    Place,
    claim_frame,
    claimed_at_once,
    forget_generations,
    load_claims,
    load_pasts,
)
from outlast.engine.database import Database
from outlast.engine.errors import ConnectionLost, Unavailable
from outlast.engine.holdings import Holdings, told_frame
from outlast.engine.liveness import SESSIONS
from outlast.engine.sessions import Holding, Session, Sessions
from outlast.engine.turn import MISSED, Ending, Item, Pool, Rescue, Telling, Told
from outlast.protocol.frames import MAX_FRAME_BYTES, Frame, Kind, frame
from outlast.protocol.messages import Entry
from outlast.protocol.outcomes import RunError

logger = logging.getLogger(__name__)
_PAUSE = 0.1


class _Mail(msgspec.Struct, frozen=True):
    session_id: str
    number: int
    kind: str
    run: str
    token: int
    data: str | None


class Workers:
    """The workers of this server, as cycles see them."""

    def __init__(
        self,
        database: Database,
        *,
        sessions: Sessions,
        submit: Callable[[str, Item], None],
        remote: Callable[[str], None],
        ended: Callable[[str, str, str], None],
        started: Callable[[str, Sequence[Telling], Mapping[str, Claimed]], None],
        reveal: Callable[[Place, Sequence[Entry]], Awaitable[list[Entry]]],
    ) -> None:
        self._database = database
        self.sessions = sessions
        self._submit = submit
        self._remote = remote
        self._ended = ended
        self._started = started
        self._reveal = reveal
        self._mail_in_doubt = False
        self.holdings = Holdings(database, submit=submit)

    def pools(self, environment: str) -> tuple[list[Pool], list[str]]:
        """Return the free slots of an environment's workers, and who may park runs."""
        return self.sessions.pools(environment)

    def reserve(self, tellings: Sequence[Telling]) -> None:
        """Count claims at once: the next turn comes before they are loaded and told."""
        for claim in tellings:
            session = self.sessions.get(claim.session) if claim.kind == "claim" else None
            if session is not None and claim.run is not None:
                session.hold(claim.run, Holding(claim.token, claim.executor, "", None, 0, 1, "{}"))

    async def tell(self, environment: str, told: Told) -> None:
        """Bring what one turn told to the sessions it concerns, in order."""
        tellings = told.tellings
        claims: list[Telling] = []
        boxes: dict[str, list[Frame]] = {}
        for telling in tellings:
            if telling.kind == "claim":
                claims.append(telling)
            elif telling.kind == "ended":
                self._ended(environment, telling.run or "", telling.data or "")
            elif telling is not MISSED:
                self._frame(environment, telling, boxes)
        self._deliver(boxes)
        if claims:
            await self._claim(environment, claims, self._known(claims, told))
        if MISSED in tellings:
            await self._catch_up(environment)

    async def _catch_up(self, environment: str) -> None:
        """Tell the sessions here what is stored and was perhaps never told.

        Claims that nobody heard of, results, cancels and drops; to hear one twice hurts nobody.
        """
        for session in self.sessions.of(environment):
            unheard = await self.holdings.tell_again(session)
            claims = [
                Telling("claim", 0, row.run_id, row.token, session.id, "cold") for row in unheard
            ]
            if claims:
                await self._claim(environment, claims)

    def _frame(self, environment: str, telling: Telling, boxes: dict[str, list[Frame]]) -> None:
        session = self.sessions.get(telling.session)
        if session is None:
            if telling.session is not None:
                self._remote(environment)
            return
        made = told_frame(telling.kind, telling.run or "", telling.token, telling.data)
        if telling.kind == "drop":
            session.release(telling.run or "", telling.token)
        boxes.setdefault(session.id, []).append(made)

    def _known(self, claims: Sequence[Telling], told: Told) -> dict[str, Claimed]:
        """Return the claims of runs that the same turn made: they need not be read."""
        known: dict[str, Claimed] = {}
        for claim in claims:
            run = told.made.get(claim.run or "")
            session = self.sessions.get(claim.session)
            if run is not None and session is not None and run.payload_blob is None:
                known[run.run] = claimed_at_once(
                    run,
                    claim.token,
                    moment=told.moment,
                    session_id=session.id,
                    version=session.version_name,
                    version_id=session.version_id,
                )
        return known

    async def _claim(
        self,
        environment: str,
        claims: Sequence[Telling],
        known: Mapping[str, Claimed] = MappingProxyType({}),
    ) -> None:
        unknown = [claim for claim in claims if claim.run not in known]
        rows, pasts = await self._load(environment, unknown) if unknown else ({}, {})
        rows.update(known)
        self._started(environment, claims, rows)
        boxes: dict[str, list[Frame]] = {}
        for claim in claims:
            row = rows.get(claim.run or "")
            session = self.sessions.get(claim.session)
            if row is None or row.token != claim.token:
                if session is not None:
                    session.release(claim.run or "", claim.token)
                continue  # ended or rescued since
            if session is None:  # its socket closed in between: the sweep would find it, later
                self._submit(environment, Rescue(run=row.run_id, token=row.token))
                continue
            past = await self._revealed(session.place, pasts.get(row.run_id))
            made = self._claim_frame(session, claim, row, past)
            if memoryview(made.body).nbytes > MAX_FRAME_BYTES:
                session.release(row.run_id, row.token)
                self._submit(environment, _too_large(row))
                continue
            boxes.setdefault(session.id, []).append(made)
        self._deliver(boxes)

    def _claim_frame(
        self, session: Session, claim: Telling, row: Claimed, past: Past | None
    ) -> Frame:
        session.hold(
            row.run_id,
            Holding(
                row.token,
                row.executor,
                row.task,
                row.root_id,
                row.depth,
                row.attempt,
                row.retry,
                row.machine,
                row.earlier_attempts,
            ),
        )
        body = claim_frame(row, claim.resume, session.place, past)
        return frame(Kind.CLAIM, body, run=row.run_id, token=row.token)

    async def _revealed(self, place: Place, past: Past | None) -> Past | None:
        """Return a run's past as its code may read it, however long the database is away."""
        while past is not None and any(entry.kind == "waitpoint" for entry in past.entries):
            try:
                entries = await self._reveal(place, past.entries)
                return msgspec.structs.replace(past, entries=entries)
            except Unavailable as error:
                logger.warning("opening a journal repeats", extra={"why": str(error)})
                await asyncio.sleep(_PAUSE)
        return past

    async def _load(
        self, environment: str, claims: Sequence[Telling]
    ) -> tuple[dict[str, Claimed], dict[str, Past]]:
        """Read claims until it works: they are committed, somebody must hear of them."""
        runs = [claim.run for claim in claims if claim.run is not None]
        while True:
            try:
                async with self._database.acquire() as executor:
                    rows = await load_claims(executor, environment, runs)
                    pasts: dict[str, Past] = {}
                    read = [
                        (claim.resume, row)
                        for claim in claims
                        if (row := rows.get(claim.run or ""))
                    ]
                    again = [row.run_id for how, row in read if how != "fresh" or row.attempt > 1]
                    restarted = [
                        row.run_id for how, row in read if how != "warm" and row.generation > 1
                    ]
                    if restarted:
                        await forget_generations(executor, restarted)
                    if again:
                        pasts = await load_pasts(executor, again)
            except Unavailable as error:
                logger.warning("loading claims repeats", extra={"why": str(error)})
                await asyncio.sleep(_PAUSE)
            else:
                return rows, pasts

    def _deliver(self, boxes: dict[str, list[Frame]]) -> None:
        for session_id, frames in boxes.items():
            session = self.sessions.get(session_id)
            if session is not None:
                session.deliver(frames)

    async def deliver_mail(self) -> None:
        """Bring what turns on other servers left for sessions of this one."""
        sessions = self.sessions.ids()
        if not sessions:
            return
        try:
            mail = await self._database.fetch(_Mail, SESSIONS.take_mail, sessions=sessions)
        except ConnectionLost:
            self._mail_in_doubt = True  # it may be taken, and gone
            raise
        boxes: dict[str, list[Frame]] = {}
        for letter in sorted(mail, key=lambda letter: letter.number):
            made = told_frame(letter.kind, letter.run, letter.token, letter.data)
            session = self.sessions.get(letter.session_id)
            if session is not None and letter.kind == "drop":
                session.release(letter.run, letter.token)
            boxes.setdefault(letter.session_id, []).append(made)
        self._deliver(boxes)
        if self._mail_in_doubt:
            self._mail_in_doubt = False
            for environment in self.sessions.environments():
                await self._catch_up(environment)

    async def refresh_versions(self) -> None:
        """Learn which version is current in each environment with workers here."""
        environments = self.sessions.environments()
        if not environments:
            return
        with contextlib.suppress(Unavailable):
            rows = await self._database.fetch(
                _CurrentVersion, SESSIONS.current_versions, environments=environments
            )
            self.sessions.current.update({row.id: row.current_version_id for row in rows})


class _CurrentVersion(msgspec.Struct, frozen=True):
    id: str
    current_version_id: str | None


def _too_large(row: Claimed) -> Ending:
    """End a run that no worker could be told of: claiming it again and again would hide it."""
    reason = RunError(
        kind="system",
        type="JournalTooLarge",
        message=(
            f"payload and journal of {row.run_id} exceed {MAX_FRAME_BYTES // 1024**2} MB together; "
            "return ids from steps and children instead of data, or raise Restart(payload) earlier"
        ),
    )
    return Ending(
        run=row.run_id,
        token=row.token,
        status="system_failure",
        error=msgspec.json.encode(reason).decode(),
    )
