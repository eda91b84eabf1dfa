"""Claimed runs as frames: facts, payload and journal, read after the claim's commit."""

import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from outlast.engine.database import Executor
from outlast.engine.queries import load
from outlast.engine.turn import NewRun
from outlast.protocol.messages import Claim, Entry, Facts
from outlast.protocol.outcomes import Outcome
from outlast.protocol.triggers import Triggered

CLAIMS = load("claims")


class Claimed(msgspec.Struct, frozen=True):
    """One claimed run as stored."""

    run_id: str
    task: str
    queue: str
    concurrency_key: str | None
    executor: str
    payload: str | None
    payload_type: str
    retry: str
    max_duration: float | None
    seed: bytes
    parent_id: str | None
    root_id: str | None
    depth: int
    batch_id: str | None
    idempotency_shown: str | None
    is_test: bool
    is_replay: bool
    trace_context: str | None
    created_at: datetime
    delay_until: datetime | None
    tags: list[str]
    metadata: str
    token: int
    attempt: int
    started_at: datetime | None
    session_id: str | None
    version: str | None
    machine: str | None
    spent: float
    earlier: float
    generation: int
    earlier_attempts: int
    is_canceled: bool
    attempt_at: datetime | None
    version_id: str | None
    priority: float


class _StoredEntry(msgspec.Struct, frozen=True):
    run_id: str
    key: str
    kind: str
    name: str
    attempt: int
    outcome: str | None
    number: int | None
    position: int
    arguments: str
    preview: str
    abandoned: bool
    runs: str | None


class Undelivered(msgspec.Struct, frozen=True):
    """A finished call that the code may not have heard of."""

    run_id: str
    key: str
    outcome: str


class _Position(msgspec.Struct, frozen=True):
    """How far one kind of report has got in one scope."""

    run_id: str
    kind: str
    scope: str
    ordinal: int


class Past(msgspec.Struct, frozen=True):
    """What a run did before: its journal, and how far the reports of its attempt have got."""

    entries: list[Entry]
    operations: dict[str, int]
    lines: dict[str, int]
    chunks: dict[str, int]


class Place(msgspec.Struct, frozen=True):
    """Where claims come from, as `ctx` shows it."""

    environment: str
    environment_slug: str
    project: str
    project_name: str = ""
    api_url: str = ""  # how the worker reaches the server, for addresses given to others


class _MaxAttempts(msgspec.Struct, frozen=True):
    max_attempts: int = 1


outcomes = msgspec.json.Decoder(Outcome)
_triggered = msgspec.json.Decoder(tuple[Triggered, ...])
_policies = msgspec.json.Decoder(_MaxAttempts)


async def load_claims(
    executor: Executor, environment: str, runs: Sequence[str]
) -> dict[str, Claimed]:
    """Return what is stored of claimed runs, by id."""
    rows = await executor.fetch_exact(
        Claimed, CLAIMS.load_claims, environment=environment, runs=list(runs)
    )
    return {row.run_id: row for row in rows}


async def forget_generations(executor: Executor, runs: Sequence[str]) -> None:
    """Delete what earlier generations of runs left behind."""
    await executor.execute(CLAIMS.forget_generations, runs=list(runs))


async def load_pasts(executor: Executor, runs: Sequence[str]) -> dict[str, Past]:
    """Return the journals and report positions of runs, by id."""
    pasts = {run: Past([], {}, {}, {}) for run in runs}
    for entry in await executor.fetch_exact(_StoredEntry, CLAIMS.load_entries, runs=list(runs)):
        pasts[entry.run_id].entries.append(_entry(entry))
    for row in await executor.fetch_exact(_Position, CLAIMS.load_positions, runs=list(runs)):
        past = pasts[row.run_id]
        positions = {"metadata": past.operations, "lines": past.lines, "chunks": past.chunks}
        positions[row.kind][row.scope] = row.ordinal
    return pasts


async def load_undelivered(executor: Executor, runs: Sequence[str]) -> list[Undelivered]:
    """Return finished calls of runs that may not have reached the code."""
    return await executor.fetch(Undelivered, CLAIMS.load_undelivered, runs=list(runs))


def claimed_at_once(
    run: NewRun, token: int, *, moment: float, session_id: str, version: str, version_id: str
) -> Claimed:
    """Return what is stored of a run that the turn made and claimed: there is nothing to read."""
    at = datetime.fromtimestamp(moment, UTC)
    return Claimed(
        run_id=run.run,
        task=run.task,
        queue=run.queue,
        concurrency_key=run.concurrency_key,
        executor=run.executor,
        payload=run.payload,
        payload_type=run.payload_type,
        retry=run.retry,
        max_duration=run.max_duration,
        seed=bytes.fromhex(run.seed),
        parent_id=run.parent,
        root_id=run.root,
        depth=run.depth,
        batch_id=run.batch,
        idempotency_shown=run.idempotency_shown,
        is_test=run.is_test,
        is_replay=run.replayed_from is not None,
        trace_context=run.trace_context,
        created_at=at,
        delay_until=None,
        tags=list(run.tags),
        metadata=run.metadata or "{}",
        token=token,
        attempt=1,
        started_at=at,
        session_id=session_id,
        version=version,
        machine=run.machine,
        spent=0.0,
        earlier=0.0,
        generation=1,
        earlier_attempts=0,
        is_canceled=False,
        attempt_at=at,
        version_id=version_id,
        priority=run.priority,
    )


def claim_frame(row: Claimed, resume: str, place: Place, past: Past | None) -> Claim:
    """Return the body of a CLAIM. `resume` is fresh, warm or cold."""
    return Claim(
        resume=resume,  # type: ignore[arg-type] # the turn tells only these three
        executor=row.executor,  # type: ignore[arg-type] # checked when it was admitted
        facts=_facts(row, place),
        retry=row.retry,
        payload=row.payload,
        payload_type=row.payload_type,
        metadata=row.metadata,
        seed=_seed(row),
        entries=tuple(past.entries) if past is not None else (),
        positions=past.operations if past is not None else {},
        lines=past.lines if past is not None else {},
        chunks=past.chunks if past is not None else {},
        spent=row.spent,
        earlier=row.earlier,
        cancel="canceled by request" if row.is_canceled else None,
    )


def _seed(row: Claimed) -> bytes:
    """Return the seed of a run's generation: each has its own ids, chance and step tokens."""
    if row.generation == 1:
        return row.seed
    return hmac.digest(row.seed, f"generation {row.generation}".encode(), "sha256")


@lru_cache(maxsize=1_000)
def _max_attempts(retry: str) -> int:
    return _policies.decode(retry).max_attempts


def _facts(row: Claimed, place: Place) -> Facts:
    created = row.created_at.timestamp()
    return Facts(
        run_id=row.run_id,
        task=row.task,
        attempt=row.attempt - row.earlier_attempts,
        generation=row.generation,
        earlier_attempts=row.earlier_attempts,
        max_attempts=_max_attempts(row.retry),
        queue=row.queue,
        created_at=created,
        started_at=row.started_at.timestamp() if row.started_at else created,
        environment=place.environment,
        environment_slug=place.environment_slug,
        project=place.project,
        version=row.version or "",
        max_duration=row.max_duration,
        concurrency_key=row.concurrency_key,
        idempotency_key=row.idempotency_shown,
        tags=tuple(row.tags),
        parent=row.parent_id,
        root=row.root_id,
        batch=row.batch_id,
        is_test=row.is_test,
        is_replay=row.is_replay,
        trace_context=row.trace_context,
        machine=row.machine,
        priority=row.priority,
        attempt_started_at=row.attempt_at.timestamp() if row.attempt_at else None,
        version_id=row.version_id,
        project_name=place.project_name,
    )


def _entry(row: _StoredEntry) -> Entry:
    return Entry(
        key=row.key,
        kind=row.kind,
        name=row.name,
        attempt=row.attempt,
        outcome=outcomes.decode(row.outcome) if row.outcome is not None else None,
        number=row.number,
        position=row.position,
        arguments=row.arguments,
        preview=row.preview,
        abandoned=row.abandoned,
        runs=_triggered.decode(row.runs) if row.runs else (),
    )
