"""What a run only reports: metadata, tags and log lines. None of it steers the run."""

import copy
import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from outlast.protocol.frames import Kind
from outlast.protocol.messages import Claim, LogLine, MetadataOperation, Report
from outlast.worker.sending import Sending

_MAX_LINE = 8_000
_MOST_LINES = 1_000
"""Lines of one report; what comes faster is dropped and counted."""


class Reports:
    """The reports of one run. May be used from any thread."""

    def __init__(self, claim: Claim, sending: Sending, notify: Callable[[], None]) -> None:
        self._sending = sending
        self._notify = notify
        self._lock = threading.Lock()
        self._positions = claim.positions
        self._metadata: dict[str, Any] = (
            {} if claim.metadata in ("", "{}") else json.loads(claim.metadata)
        )
        self._operations: list[MetadataOperation] = []
        self._tags: list[str] = []
        self._lines: list[LogLine] = []
        self._lost = 0

    def metadata(self) -> dict[str, object]:
        """Return the run's metadata with the changes of its code."""
        with self._lock:
            return copy.deepcopy(self._metadata)

    def operate(self, operation: MetadataOperation) -> None:
        """Change metadata, unless the change at this position was applied before."""
        if operation.ordinal <= self._positions.get(operation.scope, 0):
            return
        with self._lock:
            if operation.target == "self":
                apply(self._metadata, operation)
            self._operations.append(operation)
        self._notify()

    def tag(self, tags: tuple[str, ...]) -> None:
        """Add tags."""
        with self._lock:
            self._tags.extend(tag for tag in tags if tag not in self._tags)
        self._notify()

    def line(self, level: str, message: str) -> None:
        """Add a log line."""
        with self._lock:
            if len(self._lines) >= _MOST_LINES:
                self._lost += 1
                return
            self._lines.append(LogLine(time.time(), level, message[:_MAX_LINE]))
        self._notify()

    def flush(self) -> None:
        """Queue what has gathered. On the loop of the executor only."""
        if not self._sending.open or not (
            self._lines or self._operations or self._tags or self._lost
        ):
            return
        with self._lock:
            if self._lost:
                text = f"{self._lost} log lines were dropped: they came too fast"
                self._lines.append(LogLine(time.time(), "WARNING", text))
                self._lost = 0
            operations, self._operations = self._operations, []
            tags, self._tags = self._tags, []
            lines, self._lines = self._lines, []
        if operations or tags or lines:
            self._sending.put(Kind.REPORT, Report(tuple(operations), tuple(tags), tuple(lines)))


def apply(metadata: dict[str, Any], operation: MetadataOperation) -> None:
    """Apply one operation to a copy of the metadata, as the server does."""
    value = json.loads(operation.value)
    key = operation.key
    match operation.type:
        case "set":
            metadata[key] = value
        case "delete":
            metadata.pop(key, None)
        case "append":
            held = metadata.get(key, [])
            metadata[key] = [*(held if isinstance(held, list) else [held]), value]
        case "remove":
            held = metadata.get(key)
            if isinstance(held, list):
                metadata[key] = [each for each in held if each != value]
        case "increment":
            held = metadata.get(key, 0)
            metadata[key] = (held if isinstance(held, int | float) else 0) + value
        case "update":
            metadata.clear()
            metadata.update(value)


def capture_logs(owner: Callable[[], "Reporter | None"]) -> None:
    """Send what `logging` handles inside a run to its report, whatever handlers are set.

    Taken where records are handed to handlers: `dictConfig` replaces handlers, not this.
    """
    handle = logging.Logger.callHandlers
    if getattr(handle, "outlast", False):
        return

    def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
        run = owner()
        if run is not None:
            if run.is_muted() and not record.name.startswith("outlast."):
                return
            run.reports.line(record.levelname, _text(record))
        handle(logger, record)

    call_handlers.outlast = True  # type: ignore[attr-defined]
    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign, assignment]


class Reporter(Protocol):
    """A run whose log lines are wanted."""

    reports: Reports

    def is_muted(self) -> bool:
        """Say whether the code at hand repeats what it said before."""


def _text(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - a format string that does not fit must not fail the run
        text = str(record.msg)
    if record.exc_info:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text.replace("\x00", "\\x00").encode(errors="replace").decode()
