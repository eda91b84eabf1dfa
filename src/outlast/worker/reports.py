"""What a run only reports: metadata, tags, log lines, spans, streams. None of it steers the run.

Every report has a place in its attempt, (scope, ordinal), so that a replay repeats none. Lines go
to the supervisor as they are said, because a killed process sends nothing more; the rest gathers.
"""

import asyncio
import copy
import json
import secrets
import threading
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final

import msgspec

from outlast.protocol.frames import Frame, Kind, frame
from outlast.protocol.messages import (
    Claim,
    LogLevel,
    LogLine,
    MetadataOperation,
    Report,
    Reported,
)
from outlast.protocol.metadata import MAX_BYTES
from outlast.worker.amending import amend
from outlast.worker.lines import clean, cut
from outlast.worker.scopes import Scope
from outlast.worker.sending import Sending
from outlast.worker.streams import Streams

MAX_LINES: Final = 10_000
MAX_TEXT: Final = 4_000_000
"""Lines, and characters in them, that an attempt of a run may say."""
MAX_TAGS: Final = 10
FLUSH_SECONDS: Final = 1.0
"""Metadata and tags gather for so long, unless a step, a call or a suspend takes them along."""
_MOST_OPERATIONS = 1_000  # of one report

_reported = msgspec.msgpack.Decoder(Reported)


class Reports:
    """The reports of one run. May be used from any thread, but for what says otherwise."""

    def __init__(
        self,
        claim: Claim,
        sending: Sending,
        *,
        loop: asyncio.AbstractEventLoop,
        hand_over: Callable[[Frame], None],
        may_say: Callable[[], bool],
    ) -> None:
        self._facts = claim.facts
        self._sending = sending
        self._loop = loop
        self._due = False
        self._hand_over = hand_over
        self._may_say = may_say
        self._lock = threading.Lock()
        self._positions = claim.positions
        self._recorded = claim.lines
        self._metadata: dict[str, Any] = (
            {} if claim.metadata in ("", "{}") else json.loads(claim.metadata)
        )
        self._size = len(claim.metadata)
        self._tags = set(claim.facts.tags)
        self._operations: list[MetadataOperation] = []
        self._fresh_tags: list[str] = []
        self._held: list[LogLine] = []
        self._foreign: Scope | None = None
        self._said = 0
        self._said_text = 0
        self._chunks = claim.chunks
        self._streams: Streams | None = None

    @property
    def streams(self) -> Streams:
        """The chunks that the run appends; made for code that does."""
        with self._lock:
            if self._streams is None:
                self._streams = Streams(
                    self._chunks,
                    self._sending,
                    loop=self._loop,
                    complain=lambda told: self.say("ERROR", told),
                )
            return self._streams

    # Where a report stands

    def place(self, scope: Scope | None, *, line: bool) -> tuple[str, int]:
        """Return the place of the next report of a scope; None: of code without one, a thread."""
        with self._lock:
            if scope is None:
                if self._foreign is None:
                    self._foreign = Scope(f"!{secrets.token_hex(6)}")
                scope = self._foreign
            path = cut(scope.path)
            if line:
                scope.lines += 1
                return path, scope.lines
            scope.ordinal += 1
            return path, scope.ordinal

    # Metadata and tags

    def metadata(self) -> dict[str, object]:
        """Return the run's metadata with the changes of its code."""
        with self._lock:
            return copy.deepcopy(self._metadata)

    def operate(self, operation: MetadataOperation) -> None:
        """Change metadata, unless the change at this position was applied before."""
        if operation.ordinal <= self._positions.get(operation.scope, 0):
            return
        facts = self._facts
        above = facts.parent if operation.target == "parent" else facts.root
        with self._lock:
            if operation.target == "self" or above in (None, facts.run_id):
                changed = self._amended(operation)
                fits = changed is not None
                self._metadata = self._metadata if changed is None else changed
            else:
                fits = True
            if fits:
                self._operations.append(operation)
        if fits:
            self._notify()
        else:
            self.say("ERROR", f"a change of the metadata was left out: over {MAX_BYTES >> 10} KB")

    def tag(self, tags: tuple[str, ...]) -> None:
        """Add tags; what would be the eleventh is left out, and said."""
        with self._lock:
            fresh = [tag for tag in dict.fromkeys(tags) if tag not in self._tags]
            room = max(0, MAX_TAGS - len(self._tags))
            self._tags.update(fresh[:room])
            self._fresh_tags += fresh[:room]
        if left := fresh[room:]:
            self.say("WARN", f"a run has at most {MAX_TAGS} tags; left out: {', '.join(left)}")
        self._notify()

    def flush(self) -> None:
        """Queue what has gathered. On the loop of the executor only."""
        if not self._sending.open:
            return
        if self._streams is not None:
            self._streams.flush()
        if self._operations or self._fresh_tags:
            self._report()

    async def stored(self, *, refresh: bool = False) -> None:
        """Return when what has gathered is stored; `refresh` also reads what others changed."""
        answers: asyncio.Future[msgspec.Raw] = self._loop.create_future()

        def answered(raw: msgspec.Raw) -> None:
            if not answers.done():
                answers.set_result(raw)

        self._report(refresh=refresh, answered=answered)
        self._sending.flush()
        value = _reported.decode(await answers).metadata
        if value is not None:
            with self._lock:
                self._metadata = json.loads(value)
                self._size = len(value)

    def _report(
        self, *, refresh: bool = False, answered: Callable[[msgspec.Raw], None] | None = None
    ) -> None:
        with self._lock:
            operations, self._operations = self._operations, []
            tags, self._fresh_tags = self._fresh_tags, []
        while len(operations) > _MOST_OPERATIONS:
            first, operations = operations[:_MOST_OPERATIONS], operations[_MOST_OPERATIONS:]
            self._sending.put(Kind.REPORT, Report(metadata=tuple(first)))
        report = Report(metadata=tuple(operations), tags=tuple(tags), refresh=refresh)
        self._sending.put(Kind.REPORT, report, answered)

    def _amended(self, operation: MetadataOperation) -> dict[str, Any] | None:
        """Return the metadata after an operation; None when it would be too large."""
        changed = amend(self._metadata, operation)
        self._size += len(operation.value.encode()) + sum(map(len, operation.path)) + 8
        if self._size > MAX_BYTES:  # an estimate from above: look before saying no
            self._size = len(json.dumps(changed, ensure_ascii=False).encode())
            if self._size > MAX_BYTES:
                self._size = len(json.dumps(self._metadata, ensure_ascii=False).encode())
                return None
        return changed

    # Lines

    def say(self, level: LogLevel, message: str) -> None:
        """Add a line of ours, which stands nowhere in the code of the run."""
        scope, ordinal = self.place(None, line=True)
        self.line(LogLine(time.time(), level, message, scope, ordinal))

    def line(self, line: LogLine) -> bool:
        """Hand a line over before returning; False when a replay only repeats it."""
        assert line.ordinal is not None
        assert line.scope is not None
        message = clean(line.message)
        with self._lock:
            self._said += 1
            self._said_text += len(message)
            over = self._said - MAX_LINES if self._said > MAX_LINES else 0
            if self._said_text > MAX_TEXT:
                over = over or 1
                self._said = max(self._said, MAX_LINES + 1)
        if line.ordinal <= self._recorded.get(line.scope, 0):
            return False
        if over > 1:
            return True
        if over:
            line = LogLine(
                line.at,
                "WARN",
                f"further lines are dropped: a run keeps {MAX_LINES:,} lines and "
                f"{MAX_TEXT:,} characters of an attempt",
                line.scope,
                line.ordinal,
            )
        else:
            line = msgspec.structs.replace(line, message=message)
        with self._lock:
            if self._held or not self._may_say():
                self._held.append(line)
                return True
        self._send(line)
        return True

    def release(self) -> None:
        """Hand over what was said while the run had no token to say it under. On the loop."""
        self.flush()
        with self._lock:
            held, self._held = self._held, []
        for line in held:
            self._send(line)

    def _notify(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_soon_threadsafe(self._gather, context=Context())

    def _gather(self) -> None:
        self._loop.call_later(FLUSH_SECONDS, self._late)

    def _late(self) -> None:
        self._due = False
        self.flush()
        self._sending.flush()

    def _send(self, line: LogLine) -> None:
        token = self._sending.token
        self._hand_over(frame(Kind.LINE, line, run=self._facts.run_id, token=token))
