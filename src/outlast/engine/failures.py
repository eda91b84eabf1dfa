"""Failures that look alike, as one: grouped by task, kind of error and the shape of the message."""

import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from outlast.engine.alerts import Noted, note
from outlast.engine.database import Database, Executor
from outlast.engine.errors import NotFound
from outlast.engine.queries import load
from outlast.protocol.outcomes import RunError

FAILURES = load("failures")

GroupStatus = Literal["open", "resolved", "ignored"]

HOURS_SECONDS = 15 * 86_400.0
GROUP_SECONDS = 90 * 86_400.0
_MESSAGE_CHARS = 500
_errors = msgspec.json.Decoder(RunError)
_VARYING = re.compile(
    r"""
      [a-z]+_[0-9a-z]{20,}                                  # our ids
    | [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}
    | 0x[0-9a-f]+ | \b[0-9a-f]{12,}\b                       # addresses, digests
    | '[^']{0,200}' | "[^"]{0,200}"                         # what the code quotes: values
    | \S+@\S+ | https?://\S+ | (?:/[\w.@-]+){2,}
    | \d+(?:[.,:]\d+)*
    """,
    re.VERBOSE | re.IGNORECASE,
)


class ErrorGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Failures of one task that look alike; message, line and run are of the last one."""

    fingerprint: str
    task: str
    kind: str
    type: str
    message: str
    line: str
    status: GroupStatus
    count: int
    first_at: datetime
    last_at: datetime
    last_run: str
    last_version: str | None


class Hour(msgspec.Struct, frozen=True):
    """How often a group happened in an hour."""

    fingerprint: str
    hour: datetime
    count: int


class _Failed(msgspec.Struct, frozen=True):
    environment_id: str
    run_id: str
    task: str
    error: str
    finished_at: datetime
    version: str | None


class _Group(msgspec.Struct, frozen=True):
    environment_id: str
    fingerprint: str


class _Written(_Group, frozen=True):
    is_new: bool


class Failures:
    """The groups of all environments."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime | None]) -> None:
        self._database = database
        self._clock = clock

    async def add(self, executor: Executor, runs: Sequence[tuple[str, str]]) -> None:
        """Put runs that failed, as (environment, run), into their groups."""
        rows = await executor.fetch(
            _Failed,
            FAILURES.read_failed,
            environments=[environment for environment, _ in runs],
            runs=[run for _, run in runs],
        )
        groups: dict[tuple[str, str], list[tuple[_Failed, RunError]]] = {}
        for row in rows:
            error = _errors.decode(row.error)
            key = (row.environment_id, fingerprint(row.task, error))
            groups.setdefault(key, []).append((row, error))
        if groups:
            happened = await _write(executor, groups)
            if happened:
                await note(executor, "alert.error", happened, at=self._clock())

    async def groups(
        self,
        environment_id: str,
        *,
        status: GroupStatus | None = None,
        task: str | None = None,
        after: str | None = None,
        limit: int = 25,
    ) -> list[ErrorGroup]:
        """Return groups, the one that happened last first; `after` is the last one of a page."""
        return await self._database.fetch(
            ErrorGroup,
            FAILURES.list_groups,
            environment_id=environment_id,
            status=status,
            task=task,
            after=after,
            limit=limit,
        )

    async def group(self, environment_id: str, found: str) -> ErrorGroup:
        """Return a group by its fingerprint. Raises `NotFound`."""
        group = await self._database.fetch_one(
            ErrorGroup, FAILURES.find_group, environment_id=environment_id, fingerprint=found
        )
        if group is None:
            raise _missing(found)
        return group

    async def hours(
        self, environment_id: str, fingerprints: Sequence[str], seconds: float
    ) -> list[Hour]:
        """Return how often groups happened, by the hour."""
        return await self._database.fetch(
            Hour,
            FAILURES.list_hours,
            environment_id=environment_id,
            fingerprints=list(fingerprints),
            seconds=seconds,
            clock=self._clock(),
        )

    async def mark(self, environment_id: str, found: str, status: GroupStatus) -> ErrorGroup:
        """Resolve a group until it happens again, ignore it for good, or open it. `NotFound`."""
        group = await self._database.fetch_one(
            ErrorGroup,
            FAILURES.mark,
            environment_id=environment_id,
            fingerprint=found,
            status=status,
        )
        if group is None:
            raise _missing(found)
        return group

    async def prune(self) -> None:
        """Delete a portion of what is too old."""
        await self._database.execute(FAILURES.prune_hours, seconds=HOURS_SECONDS)
        await self._database.execute(FAILURES.prune_groups, seconds=GROUP_SECONDS)


def fingerprint(task: str, error: RunError) -> str:
    """Return the same text for failures that differ in ids, numbers and quoted values only."""
    shape = _VARYING.sub("*", error.message.partition("\n")[0])
    text = f"{task}\0{error.kind}\0{error.type}\0{shape}"
    return f"error_{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:24]}"


async def _write(
    executor: Executor, groups: dict[tuple[str, str], list[tuple[_Failed, RunError]]]
) -> list[Noted]:
    """Write groups; return those that are new, or came back after they were resolved."""
    keys = sorted(groups)
    newest = {key: max(groups[key], key=lambda one: one[0].finished_at) for key in keys}
    moments = {key: [row.finished_at for row, _ in groups[key]] for key in keys}
    environments, fingerprints = [key[0] for key in keys], [key[1] for key in keys]
    resolved = await executor.fetch(
        _Group, FAILURES.lock_resolved, environments=environments, fingerprints=fingerprints
    )
    written = await executor.fetch(
        _Written,
        FAILURES.add_groups,
        environments=environments,
        fingerprints=fingerprints,
        tasks=[newest[key][0].task for key in keys],
        kinds=[newest[key][1].kind for key in keys],
        types=[newest[key][1].type for key in keys],
        messages=[newest[key][1].message[:_MESSAGE_CHARS] for key in keys],
        lines=[newest[key][1].line for key in keys],
        counts=[len(groups[key]) for key in keys],
        first=[min(moments[key]) for key in keys],
        last=[max(moments[key]) for key in keys],
        runs=[newest[key][0].run_id for key in keys],
        versions=[newest[key][0].version for key in keys],
    )
    hours: dict[tuple[str, str, datetime], int] = {}
    for key in keys:
        for moment in moments[key]:
            place = (*key, moment.replace(minute=0, second=0, microsecond=0))
            hours[place] = hours.get(place, 0) + 1
    await executor.execute(
        FAILURES.add_hours,
        environments=[environment for environment, _, _ in sorted(hours)],
        fingerprints=[found for _, found, _ in sorted(hours)],
        hours=[hour for _, _, hour in sorted(hours)],
        counts=[hours[place] for place in sorted(hours)],
    )
    runs = sorted(
        (environment, row.run_id, found)
        for (environment, found), members in groups.items()
        for row, _ in members
    )
    await executor.execute(
        FAILURES.add_runs,
        environments=[environment for environment, _, _ in runs],
        runs=[run for _, run, _ in runs],
        fingerprints=[found for _, _, found in runs],
    )
    return [
        *(Noted(one.environment_id, one.fingerprint, "new") for one in written if one.is_new),
        *(Noted(one.environment_id, one.fingerprint, "back") for one in resolved),
    ]


def _missing(found: str) -> NotFound:
    return NotFound(f"there is no error {found!r} in this environment")
