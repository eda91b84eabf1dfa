"""Bodies of what a run did: its journal, its log lines, what happened to it."""

from typing import Literal

from pydantic import JsonValue

from outlast.protocol.bodies import RunErrorBody
from outlast.protocol.body import Body, Moment


class JournalEntryBody(Body):
    """One entry of a run's journal: a step, child, batch, trigger, wait or hook."""

    key: str
    kind: str
    name: str
    attempt: int
    status: Literal["OPEN", "FINISHED", "FAILED", "ABANDONED"]
    preview: str | None = None
    runs: tuple[str, ...] | None = None
    error: RunErrorBody | None = None
    created_at: Moment
    finished_at: Moment | None = None


class JournalBody(Body):
    """`GET /api/outlast/v1/runs/{id}/journal`, in the order of the calls."""

    entries: tuple[JournalEntryBody, ...]


class LogLineBody(Body):
    """One line that a run printed or logged, or the start or end of a span.

    `span` is the span that begins or ends here, of a line the one around it.
    """

    number: int
    at: Moment
    level: str
    message: str
    kind: Literal["line", "start", "end"] = "line"
    attempt: int | None = None
    span: str | None = None
    parent: str | None = None
    attributes: dict[str, JsonValue] | None = None


class LogsBody(Body):
    """`GET /api/outlast/v1/runs/{id}/logs?after=`, oldest first; `next` is the next `after`."""

    lines: tuple[LogLineBody, ...]
    next: int | None = None


class EventBody(Body):
    """Something that happened to a run: a rescue, a move to another version."""

    number: int
    at: Moment
    kind: str
    detail: str


class EventsBody(Body):
    """`GET /api/v1/runs/{id}/events`, oldest first."""

    events: tuple[EventBody, ...]
