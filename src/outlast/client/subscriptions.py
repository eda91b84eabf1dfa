"""Following runs live: a feed as a state without I/O, moved on by each answer.

A feed outlives its server: the next request says what was seen, and any server goes on from there.
"""

import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import msgspec

from outlast.client.errors import ApiError, RateLimitError, ServerError, TransportError
from outlast.client.requests import Reply, Request
from outlast.protocol.durations import whole_seconds
from outlast.protocol.realtime import BEGINNING, CURSOR, HANDLE, OFFSET, UP_TO_DATE, array_of
from outlast.protocol.statuses import FAILED_ENDS, FINAL, NAMES, Status

HOLD_SECONDS: Final = 30.0
"""How long a server may hold a request: longer than it does."""

_FIRST_WAIT, _FACTOR, _LONGEST_WAIT = 0.1, 1.3, 10.0
_CONFLICT = 409
_PASSING = (ServerError, RateLimitError, TransportError)
_SUPER_JSON = "application/super+json"
_TEXT = "text/plain"
_STORED: Final = {names.realtime: status for status, names in NAMES.items()}


class UpdateError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run has no output. `type` is the exception's name, or what the platform saw."""

    type: str
    message: str
    stack: str = ""


class RunUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A run at one moment. Payload and output are plain JSON; None where they were skipped."""

    id: str
    task_identifier: str
    status: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    delayed_until: datetime | None
    tags: tuple[str, ...]
    metadata: dict[str, object]
    payload: object
    output: object
    error: UpdateError | None
    streams: tuple[str, ...]
    is_test: bool
    duration_ms: int
    is_completed: bool
    """Whether it has ended, well or badly."""
    is_success: bool
    is_failed: bool


class _Headers(msgspec.Struct, frozen=True):
    operation: str | None = None


class _Message(msgspec.Struct, frozen=True):
    headers: _Headers
    key: str = ""
    value: dict[str, str | None] = {}


class _Answer(msgspec.Struct, frozen=True):
    handle: str
    offset: str
    cursor: str
    up_to_date: bool
    messages: tuple[_Message, ...]


class _RowError(msgspec.Struct, frozen=True, rename="camel"):
    type: str
    name: str = ""
    message: str | None = None
    stack_trace: str | None = None
    raw: str = ""
    code: str = ""


_messages = msgspec.json.Decoder(tuple[_Message, ...])
_row_errors = msgspec.json.Decoder(_RowError)


class Feed:
    """What one subscriber knows of a feed. Ask `request()`, then tell `received` or `failed`."""

    def __init__(self, path: str, query: Sequence[tuple[str, str]], *, ends: bool) -> None:
        self._path = path
        self._query = tuple((name, value) for name, value in query if value)
        self._ends = ends
        self._offset = BEGINNING
        self._handle = self._cursor = ""
        self._live = self._was_answered = False
        self._failures = 0
        self._rows: dict[str, dict[str, str | None]] = {}
        self.is_over = False
        """Whether the run that it follows has ended."""

    def request(self) -> Request[_Answer]:
        """Return the next request."""
        query = [*self._query, ("log", "full"), ("offset", self._offset)]
        if self._handle:
            query.append(("handle", self._handle))
        if self._live:
            query += [("live", "true"), ("cursor", self._cursor)]
        patience = HOLD_SECONDS if self._live else 0.0
        return Request("GET", self._path, _decode, query=tuple(query), patience=patience)

    def received(self, answer: _Answer) -> list[RunUpdate]:
        """Take an answer; return the runs that it is about, as they are now."""
        self._failures = 0
        self._was_answered = True
        self._offset, self._handle, self._cursor = answer.offset, answer.handle, answer.cursor
        self._live = answer.up_to_date
        changed: dict[str, None] = {}
        for message in answer.messages:
            if message.headers.operation in {"insert", "update"}:
                self._rows.setdefault(message.key, {}).update(message.value)
                changed[message.key] = None
        updates = [_update(self._rows[key]) for key in changed]
        self.is_over = self._ends and any(update.is_completed for update in updates)
        return updates

    def failed(self, error: ApiError | TransportError) -> float:
        """Take a failure; return the seconds until the next request, or raise the error.

        Who got an answer once waits for the server to come back, however long that takes.
        """
        if isinstance(error, ApiError) and error.status == _CONFLICT:
            self._handle = error.headers.get(HANDLE, "")
            self._offset, self._live = BEGINNING, False
        elif not (self._was_answered and isinstance(error, _PASSING)):
            raise error
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * _FACTOR**self._failures)
        self._failures += 1
        return wait


def run(run_id: str, skip: Collection[str] = ()) -> Feed:
    """Return the feed of a run; it is over when the run has ended."""
    return Feed(f"/realtime/v1/runs/{quote(run_id, safe='')}", [_skipped(skip)], ends=True)


def tagged(tags: Collection[str], since: float | None, skip: Collection[str] = ()) -> Feed:
    """Return the feed of the runs with all tags, created in the last `since` seconds or later."""
    query = [("tags", ",".join(tags)), ("createdAt", whole_seconds(since) or ""), _skipped(skip)]
    return Feed("/realtime/v1/runs", query, ends=False)


def batch(batch_id: str, skip: Collection[str] = ()) -> Feed:
    """Return the feed of the runs of a batch."""
    return Feed(f"/realtime/v1/batches/{quote(batch_id, safe='')}", [_skipped(skip)], ends=False)


def _skipped(columns: Collection[str]) -> tuple[str, str]:
    return "skipColumns", ",".join(columns)


def _decode(reply: Reply) -> _Answer:
    return _Answer(
        handle=reply.headers[HANDLE],
        offset=reply.headers[OFFSET],
        cursor=reply.headers.get(CURSOR, ""),
        up_to_date=UP_TO_DATE in reply.headers,
        messages=_messages.decode(reply.body),
    )


def _update(row: dict[str, str | None]) -> RunUpdate:
    status = _STORED.get(row["status"] or "", Status.QUEUED)
    return RunUpdate(
        id=row["friendlyId"] or "",
        task_identifier=row["taskIdentifier"] or "",
        status=NAMES[status].api,
        created_at=_moment(row["createdAt"] or ""),
        updated_at=_moment(row["updatedAt"] or ""),
        started_at=_moment_or_none(row.get("startedAt")),
        finished_at=_moment_or_none(row.get("completedAt")),
        delayed_until=_moment_or_none(row.get("delayUntil")),
        tags=array_of(row.get("runTags")),
        metadata=json.loads(row.get("metadata") or "{}"),
        payload=_value(row.get("payload"), row.get("payloadType")),
        output=_value(row.get("output"), row.get("outputType")),
        error=_error(row.get("error")),
        streams=array_of(row.get("realtimeStreams")),
        is_test=row.get("isTest") == "t",
        duration_ms=int(row.get("usageDurationMs") or 0),
        is_completed=status in FINAL,
        is_success=status is Status.COMPLETED,
        is_failed=status in FAILED_ENDS,
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _moment_or_none(text: str | None) -> datetime | None:
    return None if text is None else _moment(text)


def _value(text: str | None, media_type: str | None) -> object:
    """Return the plain value of a payload or output; what is no JSON stays text."""
    if text is None or media_type == _TEXT:
        return text
    try:
        value: object = json.loads(text)
    except ValueError:
        return text
    if media_type == _SUPER_JSON and isinstance(value, dict):
        return value.get("json")
    return value


def _error(text: str | None) -> UpdateError | None:
    if text is None:
        return None
    told = _row_errors.decode(text)
    if told.type == "CUSTOM_ERROR":
        told = msgspec.structs.replace(_row_errors.decode(_typed(told.raw)), raw="")
    return UpdateError(
        type=told.name or told.code or told.type,
        message=told.message or told.raw,
        stack=told.stack_trace or "",
    )


def _typed(raw: str) -> str:
    """Return the object inside a custom error with the type that its decoder expects."""
    return json.dumps({"type": "CUSTOM_ERROR", **json.loads(raw)})
