"""The waterfall of a run: everything that took time in it, as bars over one axis."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import TypedDict, Unpack

import msgspec
from markupsafe import Markup

from outlast.dashboard.words import clock, span
from outlast.protocol.bodies import RunDetail
from outlast.protocol.body import iso
from outlast.protocol.timeline import EventBody, JournalEntryBody, LogLineBody

_TOKEN = re.compile(r"\bwaitpoint_[0-9a-z]+")
_ENTRY_TONES = {
    "OPEN": "busy",
    "FINISHED": "good",
    "FAILED": "bad",
    "ABANDONED": "idle",
}
_NOTHING = re.compile(r"\.0(?= )| 0 \w+$")
_WAITS = frozenset({"wait", "token", "stream"})
_LEVELS = {"ERROR": "bad", "CRITICAL": "bad", "WARNING": "wait", "WARN": "wait"}
_TICKS = 5
_DAY = 86_400
_ROUND: tuple[float, ...] = (
    *(number * unit for unit in (0.001, 0.01, 0.1, 1) for number in (1, 2, 5)),
    *(10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200, _DAY),
)
"""Seconds between two ticks; beyond, whole days."""
_LAST_TICK = 0.85  # of the axis: its text needs some room
_LEAST = 0.15  # percent: what took no time is still to be seen
_DEEPEST = 8
_CHUNK = 50
"""Rows that browsers leave out together while they are out of view, and that are sent again
together when one of them changed; each by itself is costlier."""
_GROWTH = 1.25
"""The axis of a run that goes on grows in steps of this factor: bars stay where they are."""
_SHOWN_RUNS = 3
_SHOWN_NOTE = 200


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `start` and `width` are percent of the axis; a `width` of 0 is a moment."""

    id: str
    kind: str
    name: str
    start: float
    width: float
    time: str
    """How long it took; of a moment, when it was."""
    depth: int = 1
    tone: str = "idle"
    note: str = ""
    runs: tuple[str, ...] = ()
    token: str | None = None
    """The waitpoint token that it waits for, while it does."""
    is_open: bool = False

    def row(self, all_runs: str) -> str:
        """Return the row as HTML: one of thousands, for which a template takes ten times as long.

        `all_runs` is where a list of more runs than fit is.
        """
        drawn = (
            f'<rect x="{self.start}%" y="22%" width="{self.width}%" height="56%" rx="2"/>'
            if self.width
            else f'<circle cx="{self.start}%" cy="50%" r="3.5"/>'
        )
        note = self.note and f" {_small(self.note)}"
        return (
            f'<li class="row {self.tone}{" open" if self.is_open else ""}"'
            f' data-id="{escape(self.id)}" data-at="{self.start}">'
            f'<span class="what depth-{self.depth}"><b>{escape(self.kind)}</b> {escape(self.name)}'
            f"{self._links(all_runs) if self.runs else ''}{note}</span>"
            f'<span class="track"><svg aria-hidden="true">{drawn}</svg></span>'
            f'<span class="number">{self.time}</span></li>'
        )

    def _links(self, all_runs: str) -> str:
        first = "".join(
            f' <a class="id" href="runs/{escape(run)}">{escape(f"{run[:4]}…{run[-6:]}")}</a>'
            for run in self.runs[:_SHOWN_RUNS]
        )
        count = len(self.runs)
        return first + (
            f' <a href="{escape(all_runs)}">all {count}</a>' if count > _SHOWN_RUNS else ""
        )


def _small(note: str) -> str:
    whole = escape(note)
    shown = whole if len(note) <= _SHOWN_NOTE else escape(note[:_SHOWN_NOTE])
    return f'<small title="{whole}">{shown}</small>'


@dataclass(frozen=True, kw_only=True)
class Waterfall:
    """The rows in order, and the axis above them."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    seconds: float

    def rows(self, all_runs: str) -> Markup:
        """Return the rows in HTML, as lists that are live parts of their own.

        `all_runs` is where all runs of an entry are.
        """
        html = []
        for first in range(0, len(self.bars), _CHUNK):
            chunk = self.bars[first : first + _CHUNK]
            name = ' class="chunk"' if len(chunk) == _CHUNK else ""  # of one height, that is
            rows = "".join([bar.row(all_runs) for bar in chunk])
            html.append(f'<ol id="live_rows_{first}" data-part{name}>{rows}</ol>')
        return Markup("".join(html))  # noqa: S704 - escaped


def waterfall(
    run: RunDetail,
    entries: Sequence[JournalEntryBody],
    lines: Sequence[LogLineBody],
    events: Sequence[EventBody],
) -> Waterfall:
    """Return what a run did. Attempts stand above what began in them, spans above their lines."""
    axis = _Axis(run.created_at, run.finished_at)
    rows = [
        *_entries(axis, entries),
        *_lines(axis, lines),
        *((event.at.timestamp(), _event(axis, event)) for event in events),
    ]
    above = _attempts(axis, run, events, [moment for moment, _ in rows])
    if run.started_at is not None or not run.is_completed:
        above.insert(0, (run.created_at.timestamp(), _queued(axis, run)))
    rows = above + rows
    rows.sort(key=lambda row: row[0])  # stable: what contains others stays before them
    return Waterfall(bars=tuple(bar for _, bar in rows), ticks=axis.ticks(), seconds=axis.seconds)


_Row = tuple[float, Bar]


class _More(TypedDict, total=False):
    """What a bar may have beside its place."""

    depth: int
    tone: str
    note: str
    runs: tuple[str, ...]
    token: str | None
    is_open: bool


class _Axis:
    """From moments, in seconds since the epoch, to percent."""

    def __init__(self, start: datetime, end: datetime | None) -> None:
        self.start = start.timestamp()
        self.now = (end or datetime.now(UTC)).timestamp()
        self.seconds = max(0.001, self.now - self.start)
        if end is None:
            self.seconds = _GROWTH ** math.ceil(math.log(self.seconds, _GROWTH))

    def place(self, moment: float) -> float:
        share = (moment - self.start) / self.seconds
        return round(100 * min(1.0, max(0.0, share)), 3)

    def bar(
        self,
        identifier: str,
        kind: str,
        name: str,
        start: float,
        end: float | None,
        **more: Unpack[_More],
    ) -> Bar:
        """Return a bar of depth 1; without an end it lasts until now."""
        left = self.place(start)
        last = self.now if end is None else end
        width = self.place(last) - left
        return Bar(
            id=identifier,
            kind=kind,
            name=name,
            start=min(left, 100 - _LEAST),
            width=max(_LEAST, round(width, 3)),
            time=span(last - start),
            **more,
        )

    def moment(self, identifier: str, kind: str, name: str, at: str, **more: Unpack[_More]) -> Bar:
        """Return something that took no time; `at` is when, as the API writes it."""
        return Bar(
            id=identifier,
            kind=kind,
            name=name,
            start=self.place(_seconds(at)),
            width=0,
            time=clock(at),
            **more,
        )

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Return places on the axis and how far from the beginning they are, at round times."""
        least = self.seconds / _TICKS
        step = next((step for step in _ROUND if step >= least), math.ceil(least / _DAY) * _DAY)
        last = math.ceil(self.seconds * _LAST_TICK / step)
        return tuple(
            (round(100 * part * step / self.seconds, 3), _round(part * step) if part else "0")
            for part in range(last)
        )


def _round(seconds: float) -> str:
    return _NOTHING.sub("", span(seconds))


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _event(axis: _Axis, event: EventBody) -> Bar:
    name, at = event.kind.replace("_", " "), iso(event.at)
    return axis.moment(f"event {event.number}", "event", name, at, tone="wait", note=event.detail)


def _queued(axis: _Axis, run: RunDetail) -> Bar:
    start, queue = run.created_at.timestamp(), run.queue or ""
    end = None if run.started_at is None else run.started_at.timestamp()
    return axis.bar(
        "queued", "queued", "queued", start, end, depth=0, note=queue, is_open=end is None
    )


def _attempts(
    axis: _Axis, run: RunDetail, events: Sequence[EventBody], moments: Sequence[float]
) -> list[_Row]:
    """Return a bar per attempt; a later one begins with the first that is known of it."""
    if run.started_at is None:
        return []
    rows: list[_Row] = []
    begin = run.started_at.timestamp()
    ends = [
        *((each.failed_at, "bad", each.error.message) for each in run.failed_attempts or ()),
        *((each.at, "idle", each.detail) for each in events if each.kind == "restarted"),
    ]
    for number, (at, tone, note) in enumerate(sorted(ends), 1):
        name, end = f"attempt {number}", at.timestamp()
        made = axis.bar(name, "attempt", name, begin, end, depth=0, tone=tone, note=note)
        rows.append((begin, made))
        begin = min((moment for moment in moments if moment > end), default=end)
    number = run.attempt_count or 1
    if len(rows) < number:
        tone = "good" if run.is_success else "bad" if run.is_failed else "idle"
        tone = tone if run.is_completed else "wait" if run.is_waiting else "busy"
        name = f"attempt {number}"
        last = None if run.finished_at is None else run.finished_at.timestamp()
        made = axis.bar(
            name, "attempt", name, begin, last, depth=0, tone=tone, is_open=last is None
        )
        rows.append((begin, made))
    return rows


def _entries(axis: _Axis, entries: Iterable[JournalEntryBody]) -> Iterable[_Row]:
    """Return the journal: a step is written when it is done, so how long it took is not known."""
    for entry in entries:
        start = _seconds(entry.created_at)
        is_open = entry.status == "OPEN"
        found = _TOKEN.search(entry.key) if is_open and entry.kind == "token" else None
        waits = entry.kind in _WAITS
        note = entry.error.message if entry.error else entry.preview or ""
        more: _More = {
            "tone": "wait" if waits and entry.status != "FAILED" else _ENTRY_TONES[entry.status],
            "note": note if entry.status != "ABANDONED" else "abandoned",
            "runs": entry.runs or (),
            "token": found[0] if found else None,
            "is_open": is_open,
        }
        if entry.finished_at == entry.created_at:
            yield start, axis.moment(entry.key, entry.kind, entry.name, entry.created_at, **more)
        else:
            end = _seconds(entry.finished_at) if entry.finished_at else None
            yield start, axis.bar(entry.key, entry.kind, entry.name, start, end, **more)


def _lines(axis: _Axis, lines: Sequence[LogLineBody]) -> Iterable[_Row]:
    """Return spans as bars and lines as moments, each below the span it belongs to."""
    ends = {line.span: line for line in lines if line.kind == "end" and line.span}
    depths: dict[str, int] = {}
    for line in lines:
        if line.kind == "end":
            continue
        at = _seconds(line.at)
        inside = line.parent if line.kind == "start" else line.span
        depth = min(_DEEPEST, depths.get(inside or "", 0) + 1)
        if line.kind == "start" and line.span:
            depths[line.span] = depth
            end = ends.get(line.span)
            tone = "busy" if end is None else "bad" if end.level == "ERROR" else "good"
            ended_at = _seconds(end.at) if end else None
            made = axis.bar(
                line.span,
                "span",
                line.message,
                at,
                ended_at,
                depth=depth,
                tone=tone,
                is_open=end is None,
            )
        else:
            tone = _LEVELS.get(line.level, "idle")
            name = f"line {line.number}"
            made = axis.moment(name, "log", line.message, line.at, depth=depth, tone=tone)
        yield at, made
