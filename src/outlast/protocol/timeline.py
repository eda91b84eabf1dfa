"""Bodies of what a run did: its journal, its log lines, what happened to it.

Journals and lines are structs: thousands of them are one answer.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from outlast.protocol.body import Body, Moment, MomentText

_SPAN = "the span that begins or ends here, of a line the one around it"


class JournalErrorBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Why an entry failed."""

    message: str
    name: str | UnsetType = UNSET
    stack_trace: str | UnsetType = UNSET
    causes: tuple[str, ...] | UnsetType = UNSET
    kind: str | UnsetType = UNSET
    code: str | UnsetType = UNSET
    line: str | UnsetType = UNSET


class JournalEntryBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One entry of a run's journal: a step, child, batch, trigger, wait or hook."""

    key: str
    kind: str
    name: str
    attempt: int
    status: Literal["OPEN", "FINISHED", "FAILED", "ABANDONED"]
    preview: str | UnsetType = UNSET
    runs: tuple[str, ...] | UnsetType = UNSET
    error: JournalErrorBody | UnsetType = UNSET
    created_at: MomentText
    finished_at: MomentText | UnsetType = UNSET


class JournalBody(msgspec.Struct, frozen=True):
    """`GET /api/outlast/v1/runs/{id}/journal`, in the order of the calls."""

    entries: tuple[JournalEntryBody, ...]


class LogLineBody(msgspec.Struct, frozen=True, kw_only=True):
    """One line that a run printed or logged, or the start or end of a span."""

    number: int
    at: MomentText
    level: str
    message: str
    kind: Literal["line", "start", "end"]
    attempt: int | UnsetType = UNSET
    span: Annotated[str, Meta(description=_SPAN)] | UnsetType = UNSET
    parent: str | UnsetType = UNSET
    attributes: dict[str, object] | UnsetType = UNSET


class LogsBody(msgspec.Struct, frozen=True):
    """`GET /api/outlast/v1/runs/{id}/logs?after=`, oldest first; `next` is the next `after`."""

    lines: tuple[LogLineBody, ...]
    next: int | UnsetType = UNSET


class EventBody(Body):
    """Something that happened to a run: a rescue, a move to another version."""

    number: int
    at: Moment
    kind: str
    detail: str


class EventsBody(Body):
    """`GET /api/v1/runs/{id}/events`, oldest first."""

    events: tuple[EventBody, ...]
