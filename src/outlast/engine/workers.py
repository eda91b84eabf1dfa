"""What committed turns decided, brought to the workers: claims, results, cancels and drops."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from outlast.engine.claims import (
    Claimed,
    Past,
    Place,
    claim_frame,
    load_claims,
    load_pasts,
    load_undelivered,
    outcomes,
)
from outlast.engine.database import Database
from outlast.engine.errors import ConnectionLost, Unavailable
from outlast.engine.liveness import SESSIONS
from outlast.engine.sessions import Holding, Session, Sessions, drop
from outlast.engine.turn import MISSED, Ending, Gone, Item, Pool, Rescue, Telling
from outlast.protocol.frames import MAX_FRAME_BYTES, Frame, Kind, frame
from outlast.protocol.messages import Cancel, Entry, Held, Result
from outlast.protocol.outcomes import RunError

logger = logging.getLogger(__name__)
_PAUSE = 0.1


class _StoredHolding(msgspec.Struct, frozen=True):
    run_id: str
    token: int
    status: str
    is_canceled: bool
    is_settled: bool

    @property
    def is_executing(self) -> bool:
        return self.status in {"dequeued", "executing"}


class _Mail(msgspec.Struct, frozen=True):
    session_id: str
    number: int
    kind: str
    run: str
    token: int
    data: str | None


class _ResultData(msgspec.Struct, frozen=True):
    key: str
    outcome: msgspec.Raw


_results = msgspec.json.Decoder(_ResultData)


class Workers:
    """The workers of this server, as cycles see them."""

    def __init__(
        self,
        database: Database,
        *,
        sessions: Sessions,
        submit: Callable[[str, Item], None],
        remote: Callable[[str], None],
        ended: Callable[[str], None],
        reveal: Callable[[Place, Sequence[Entry]], Awaitable[list[Entry]]],
    ) -> None:
        self._database = database
        self.sessions = sessions
        self._submit = submit
        self._remote = remote
        self._ended = ended
        self._reveal = reveal
        self._mail_in_doubt = False

    def pools(self, environment: str) -> tuple[list[Pool], list[str]]:
        """Return the free slots of an environment's workers, and who may park runs."""
        return self.sessions.pools(environment)

    async def tell(self, environment: str, tellings: Sequence[Telling]) -> None:
        """Bring what one turn told to the sessions it concerns, in order."""
        claims: list[Telling] = []
        boxes: dict[str, list[Frame]] = {}
        for telling in tellings:
            if telling.kind == "claim":
                claims.append(telling)
                self._reserve(telling)
            elif telling.kind == "ended":
                self._ended(telling.run or "")
            elif telling is not MISSED:
                self._frame(environment, telling, boxes)
        self._deliver(boxes)
        if claims:
            await self._claim(environment, claims)
        if MISSED in tellings:
            await self._catch_up(environment)

    async def _catch_up(self, environment: str) -> None:
        """Tell the sessions here what is stored and was perhaps never told.

        Claims that nobody heard of, results, cancels and drops; to hear one twice hurts nobody.
        """
        for session in self.sessions.of(environment):
            believed = {item.run: item.token for item in session.held()}
            stored, answers = await self._stored(session.id, believed)
            truth = {row.run_id: row for row in stored}
            for run, token in believed.items():
                if not _fits(truth.get(run), token):
                    session.release(run, token)
                    answers.append(drop(run, token))
            if answers:
                session.deliver(answers)
            await self._claim(
                environment,
                [
                    Telling("claim", 0, row.run_id, row.token, session.id, "cold")
                    for row in stored
                    if row.is_executing and not _fits(row, believed.get(row.run_id))
                ],
            )

    async def _stored(
        self, session: str, believed: Mapping[str, int]
    ) -> tuple[list[_StoredHolding], list[Frame]]:
        """Read what a session holds and what its runs may not have heard, until it works."""
        while True:
            try:
                stored = await self._database.fetch(_StoredHolding, SESSIONS.held, session=session)
                return stored, await self._again(
                    [
                        row
                        for row in stored
                        if row.is_executing and _fits(row, believed.get(row.run_id))
                    ]
                )
            except Unavailable as error:
                logger.warning("catching up repeats", extra={"why": str(error)})
                await asyncio.sleep(_PAUSE)

    def _reserve(self, telling: Telling) -> None:
        """Count a claim at once: the next turn may come before it is loaded."""
        session = self.sessions.get(telling.session)
        if session is not None and telling.run is not None:
            session.hold(telling.run, Holding(telling.token, "", "", None, 0, 1, "{}"))

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

    async def _claim(self, environment: str, claims: Sequence[Telling]) -> None:
        rows, pasts = await self._load(environment, claims)
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
            ),
        )
        body = claim_frame(row, claim.data or "cold", session.place, past)
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
                    again = [
                        claim.run
                        for claim in claims
                        if claim.run in rows
                        and (claim.data != "fresh" or rows[claim.run].attempt > 1)
                    ]
                    if again:
                        pasts = await load_pasts(executor, [run for run in again if run])
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

    async def reconcile(
        self, session: Session, held: Sequence[Held], *, arrives: bool = False
    ) -> None:
        """Bring a worker's list and `run_state` together: what only one side knows is given up.

        A run claimed for a session that does not hold it returns to `ready`: at once when the
        session `arrives` from another server, else once it cannot be on its way any more. One that
        a worker holds in vain is dropped there, and one that only this server's picture holds takes
        up no place any more. Results and cancels are sent again.
        """
        pictured = {run: holding.token for run, holding in session.executing.items()}
        stored = await self._database.fetch(_StoredHolding, SESSIONS.held, session=session.id)
        truth = {row.run_id: row for row in stored}
        mine = {item.run: item.token for item in held}
        answers = [
            drop(run, token) for run, token in mine.items() if not _fits(truth.get(run), token)
        ]
        for row in stored:
            is_lost = row.is_executing and mine.get(row.run_id) != row.token
            if is_lost and (arrives or row.is_settled):
                session.release(row.run_id, row.token)
                lost = Gone if arrives else Rescue
                self._submit(session.place.environment, lost(run=row.run_id, token=row.token))
        executing = [row for row in stored if row.is_executing and _fits(row, mine.get(row.run_id))]
        for run, token in pictured.items():  # their claims were committed before the truth was read
            if not _fits(truth.get(run), token):
                session.release(run, token)
        if arrives:  # else the picture lacks only what has ended, or is about to
            await self._adopt(session, executing)
        for row in stored:
            if row.status == "waiting" and mine.get(row.run_id) == row.token:
                session.park(row.run_id, row.token)
        answers += await self._again(executing)
        if answers:
            session.deliver(answers)

    async def _adopt(self, session: Session, executing: Sequence[_StoredHolding]) -> None:
        """Learn about runs that the worker brought along from another server."""
        unknown = [row.run_id for row in executing if row.run_id not in session.executing]
        if not unknown:
            return
        async with self._database.acquire() as executor:
            rows = await load_claims(executor, session.place.environment, unknown)
        for row in rows.values():
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
                ),
            )

    async def _again(self, executing: Sequence[_StoredHolding]) -> list[Frame]:
        tokens = {row.run_id: row.token for row in executing}
        if not tokens:
            return []
        async with self._database.acquire() as executor:
            finished = await load_undelivered(executor, list(tokens))
        frames = [
            frame(
                Kind.RESULT,
                Result(item.key, outcomes.decode(item.outcome)),
                run=item.run_id,
                token=tokens[item.run_id],
            )
            for item in finished
        ]
        frames += [
            told_frame("cancel", row.run_id, row.token, None)
            for row in executing
            if row.is_canceled
        ]
        return frames

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
            "return ids from steps and children instead of data"
        ),
    )
    return Ending(
        run=row.run_id,
        token=row.token,
        status="system_failure",
        error=msgspec.json.encode(reason).decode(),
    )


def _fits(row: _StoredHolding | None, token: int | None) -> bool:
    return row is not None and row.token == token


def told_frame(kind: str, run: str, token: int, data: str | None) -> Frame:
    """Return the frame for a telling of kind result, cancel or drop."""
    if kind == "result":
        result = _results.decode(data or "{}")
        return frame(
            Kind.RESULT, Result(result.key, outcomes.decode(result.outcome)), run=run, token=token
        )
    if kind == "cancel":
        return frame(Kind.CANCEL, Cancel(data or "canceled"), run=run, token=token)
    return drop(run, token, data)
