"""The journal's own writer: steps, order of delivery and reports, batched, outside the cycle.

Fenced by the lease token; the recorded result always wins. A frame is durable when its
writer is told so, and only then may a later call, suspend or end of the same run enter a turn.
"""

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from outlast.engine.database import Database, Executor
from outlast.engine.errors import Unavailable
from outlast.engine.group_commit import Done, GroupCommit, Order
from outlast.engine.queries import load
from outlast.protocol.messages import Delivered, Report, Step
from outlast.protocol.outcomes import Outcome

logger = logging.getLogger(__name__)

_encoder = msgspec.json.Encoder()
_outcomes = msgspec.json.Decoder(Outcome)

JOURNAL = load("journal")
_PAUSE = 0.1

Body = Step | Delivered | Report


class Written(msgspec.Struct, frozen=True):
    """What the journal holds for a step now; no outcome: the writer has lost the run."""

    n: int
    run: str
    token: int
    outcome: str | None


class _StepRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step as the SQL function takes it."""

    n: int
    run: str
    token: int
    key: str
    kind: str
    name: str
    number: int
    outcome: str
    position: int = 0
    arguments: str = ""
    preview: str = ""


class JournalWriter:
    """Gathers journal frames of all runs and writes them in one statement at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writes = GroupCommit("journal writer", database, _flush)

    def write(self, run: str, token: int, body: Body, done: Done[Outcome]) -> None:
        """Call `done` when the frame is on disk, or with the error that keeps it from there.

        For a step it gets the recorded outcome, or None when the token is stale.
        """
        self._writes.write(Order(run, token, body, done))

    async def metadata(self, run: str) -> str:
        """Return a run's metadata as JSON text, however long the database is away."""
        while True:
            try:
                found = await self._database.fetch_value(JOURNAL.read_metadata, run=run)
            except Unavailable as error:
                logger.warning("reading metadata repeats", extra={"why": str(error)})
                await asyncio.sleep(_PAUSE)
            else:
                return str(found or "{}")

    async def close(self, seconds: float) -> None:
        """Write what has gathered and stop, after so many seconds in any case."""
        await self._writes.close(seconds)


async def _flush(
    executor: Executor, orders: Sequence[Order[Body, Outcome]]
) -> list[Outcome | None]:
    steps: list[_StepRow] = []
    deliveries: list[dict[str, object]] = []
    lines: list[dict[str, object]] = []
    tags: list[dict[str, object]] = []
    operations: list[dict[str, object]] = []
    for n, order in enumerate(orders):
        owner = {"run": order.run, "token": order.token}
        match order.body:
            case Step() as step:
                steps.append(_step_row(n, order, step))
            case Delivered() as delivered:
                deliveries.extend({**owner, "key": k, "number": i} for k, i in delivered.order)
                deliveries.extend(
                    {**owner, "key": k, "abandoned": True} for k in delivered.abandoned
                )
            case Report() as report:
                lines.extend({**owner, **msgspec.structs.asdict(line)} for line in report.logs)
                tags.extend({**owner, "tag": tag} for tag in report.tags)
                operations.extend(
                    {"n": len(operations), **owner, **msgspec.structs.asdict(operation)}
                    for operation in report.metadata
                )
    recorded: dict[int, str | None] = {}
    if steps or deliveries or lines or tags:
        rows = await executor.fetch_exact(
            Written,
            JOURNAL.write,
            steps=_json(steps),
            deliveries=_json(deliveries),
            lines=_json(lines),
            tags=_json(tags),
        )
        recorded = {row.n: row.outcome for row in rows}
    if operations:
        await executor.execute(JOURNAL.operate, items=_json(operations))
    sent = {row.n: row.outcome for row in steps}
    return [_answer(order.body, sent.get(n), recorded.get(n)) for n, order in enumerate(orders)]


def _answer(body: Body, sent: str | None, text: str | None) -> Outcome | None:
    """Return what the journal holds for a step; nearly always it is the very text that was sent."""
    if text is None or not isinstance(body, Step):
        return None
    return body.outcome if text == sent else _outcomes.decode(text)


def _step_row(n: int, order: Order[Body, Outcome], step: Step) -> _StepRow:
    return _StepRow(
        n,
        order.run,
        order.token,
        step.key,
        step.kind,
        step.name,
        step.number,
        _encoder.encode(step.outcome).decode(),
        step.position,
        step.arguments,
        step.preview,
    )


def _json(rows: Sequence[object]) -> str | None:
    return _encoder.encode(rows).decode() if rows else None
