"""What sessions hold as stored, brought together with what workers and this server believe."""

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from outlast.engine.claims import load_claims, load_undelivered, outcomes
from outlast.engine.database import Database
from outlast.engine.errors import Unavailable
from outlast.engine.liveness import SESSIONS
from outlast.engine.sessions import Holding, Session, drop
from outlast.engine.turn import Gone, Item, Rescue
from outlast.protocol.frames import Frame, Kind, frame
from outlast.protocol.messages import Cancel, Held, Result

logger = logging.getLogger(__name__)
_SETTLED_SECONDS = 5.0
_PAUSE = 0.1


class StoredHolding(msgspec.Struct, frozen=True):
    """A run that a session holds, executing or parked."""

    run_id: str
    token: int
    status: str
    is_canceled: bool
    is_settled: bool

    @property
    def is_executing(self) -> bool:
        """Whether it has a slot."""
        return self.status in {"dequeued", "executing"}


class _ResultData(msgspec.Struct, frozen=True):
    key: str
    outcome: msgspec.Raw


_results = msgspec.json.Decoder(_ResultData)


class Holdings:
    """Finds what one side knows and another does not."""

    def __init__(self, database: Database, *, submit: Callable[[str, Item], None]) -> None:
        self._database = database
        self._submit = submit

    async def tell_again(self, session: Session) -> list[StoredHolding]:
        """Tell a session what it may have missed: results, cancels and drops.

        To hear one twice hurts nobody. Returns the claims that this server does not know of.
        """
        believed = {item.run: item.token for item in session.held()}
        while True:
            try:
                stored = await self._stored(session)
                known = [row for row in stored if _fits(row, believed.get(row.run_id))]
                answers = await self._again([row for row in known if row.is_executing])
                break
            except Unavailable as error:
                logger.warning("catching up repeats", extra={"why": str(error)})
                await asyncio.sleep(_PAUSE)
        truth = {row.run_id: row for row in stored}
        for run, token in believed.items():
            if not _fits(truth.get(run), token):
                session.release(run, token)
                answers.append(drop(run, token))
        if answers:
            session.deliver(answers)
        return [row for row in stored if row.is_executing and row not in known]

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
        stored = await self._stored(session)
        truth = {row.run_id: row for row in stored}
        mine = {item.run: item.token for item in held}
        answers = [
            drop(run, token) for run, token in mine.items() if not _fits(truth.get(run), token)
        ]
        for row in stored:
            is_lost = row.is_executing and mine.get(row.run_id) != row.token
            # By the database's clock a claim of before an outage is old, but told just now.
            told = session.expects(row.run_id, row.token, _SETTLED_SECONDS)
            if is_lost and (arrives or (row.is_settled and not told)):
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

    async def _stored(self, session: Session) -> list[StoredHolding]:
        return await self._database.fetch(StoredHolding, SESSIONS.held, session=session.id)

    async def _adopt(self, session: Session, executing: Sequence[StoredHolding]) -> None:
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
                    row.earlier_attempts,
                ),
            )

    async def _again(self, executing: Sequence[StoredHolding]) -> list[Frame]:
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


def _fits(row: StoredHolding | None, token: int | None) -> bool:
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
