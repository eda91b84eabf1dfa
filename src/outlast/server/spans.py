"""A run as a tree of spans: its journal, the spans its code opened and the lines it said."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

import msgspec

from outlast.engine.reports import Line
from outlast.engine.runs import JournalLine, Run
from outlast.protocol.outcomes import Outcome
from outlast.protocol.statuses import Status

_outcomes = msgspec.json.Decoder(Outcome)
_FAILED = frozenset({Status.FAILED, Status.CRASHED, Status.SYSTEM_FAILURE, Status.TIMED_OUT})


class SpanData(msgspec.Struct, rename="camel"):
    """What a span shows. `duration` is in milliseconds, 0 while it is open."""

    message: str
    start_time: datetime
    duration: float = 0
    is_error: bool = False
    is_partial: bool = False
    is_cancelled: bool = False
    level: str = "TRACE"
    attempt: int | None = None
    properties: dict[str, object] | msgspec.UnsetType = msgspec.UNSET

    def end(self, at: datetime | None) -> None:
        """Note the end; None: it is still open."""
        self.is_partial = at is None
        self.duration = 0 if at is None else (at - self.start_time).total_seconds() * 1000


class Span(msgspec.Struct, rename="camel"):
    """One span with those inside it. What is not there is left out: null is no id to clients."""

    id: str
    run_id: str
    data: SpanData
    children: list["Span"]
    parent_id: str | msgspec.UnsetType = msgspec.UNSET


class FlatSpan(SpanData, rename="camel", kw_only=True):
    """One span without those inside it; the run's own may have no parent."""

    span_id: str
    parent_id: str | None
    run_id: str
    duration_ms: float


class Trace(msgspec.Struct, rename="camel"):
    """All spans of a run below the one that is the run itself."""

    trace_id: str
    root_span: Span

    def find(self, span_id: str) -> FlatSpan | None:
        """Return one span."""
        waiting = [self.root_span]
        while waiting:
            span = waiting.pop()
            if span.id == span_id:
                return FlatSpan(
                    **msgspec.structs.asdict(span.data),
                    span_id=span.id,
                    parent_id=span.parent_id or None,
                    run_id=span.run_id,
                    duration_ms=span.data.duration,
                )
            waiting += span.children
        return None


def trace_of(run: Run, entries: Sequence[JournalLine], lines: Sequence[Line]) -> Trace:
    """Return the trace of a run. Children are in the order of their beginning."""
    root = _root(run)
    known = {root.id: root}
    _add_lines(root, known, lines)
    root.children += (_entry(root, entry) for entry in entries)
    for span in known.values():
        span.children.sort(key=lambda child: child.data.start_time)
    return Trace(_digest(run.root_id or run.id, size=16), root)


def _root(run: Run) -> Span:
    data = SpanData(
        run.task,
        run.started_at or run.created_at,
        is_error=run.status in _FAILED,
        is_cancelled=run.status is Status.CANCELED,
    )
    data.end(run.finished_at)
    parent = msgspec.UNSET if run.parent_id is None else _digest(run.parent_id)
    return Span(_digest(run.id), run.id, data, [], parent)


def _add_lines(root: Span, known: dict[str, Span], lines: Sequence[Line]) -> None:
    for line in lines:
        if line.kind == "end":
            if (begun := known.get(line.span or "")) is not None:
                begun.data.end(line.at)
                begun.data.is_error = line.level == "ERROR"
            continue
        begins = line.kind == "start" and line.span is not None
        parent = known.get((line.parent if begins else line.span) or "", root)
        own = line.span if begins and line.span is not None else _digest(f"{root.id} {line.number}")
        data = SpanData(
            line.message,
            line.at,
            level=line.level,
            attempt=line.attempt,
            is_error=line.level == "ERROR",
            is_partial=begins,
            properties=msgspec.UNSET
            if line.attributes is None
            else msgspec.json.decode(line.attributes),
        )
        made = Span(own, root.run_id, data, [], parent.id)
        parent.children.append(made)
        if begins:
            known[own] = made


def _entry(root: Span, entry: JournalLine) -> Span:
    outcome = None if entry.outcome is None else _outcomes.decode(entry.outcome)
    data = SpanData(
        f"{entry.kind} {entry.name}",
        entry.created_at,
        attempt=entry.attempt,
        is_error=outcome is not None and not outcome.ok,
        is_cancelled=entry.is_abandoned,
    )
    data.end(entry.finished_at)
    return Span(_digest(f"{root.run_id} {entry.key}"), root.run_id, data, [], root.id)


def _digest(text: str, size: int = 8) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
