"""Why a run stands where it stands: every run that is not final has a reason with a name."""

import re
from datetime import UTC, datetime

import msgspec

from outlast.protocol.statuses import FINAL, Status

_MOST_NAMED = 3
_ENTRY = re.compile(r"(?:^|/)(wait|child|batch|token|stream):([^/].*)#(\d+)$")


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can hold one run back, as it is now."""

    status: Status
    reason: str | None
    cancel_at: datetime | None
    awaiting: tuple[str, ...] | None
    delay_until: datetime | None
    queue: str
    concurrency_key: str | None
    route: str
    environment_paused: bool
    queue_paused: bool
    has_queue: bool
    base_limit: int
    rate_until: datetime | None
    concurrency_limit: int | None
    total_limit: int | None
    queue_running: int
    lane_running: int
    environment_limit: int
    environment_running: int
    worker: str | None
    has_worker: bool
    retry_at: datetime | None


def explain(standing: Standing) -> str | None:
    """Return the reason in words; None for a run that has ended."""
    if standing.status in FINAL:
        return None
    if standing.cancel_at is not None:
        return f"is being canceled{_on(standing.worker)}"
    if standing.status is Status.QUEUED:
        return _queued(standing)
    return {
        Status.PENDING_VERSION: _parked(standing),
        Status.DELAYED: f"is delayed until {_moment(standing.delay_until)}",
        Status.RETRYING: f"tries again at {_moment(standing.retry_at)}",
        Status.WAITING: standing.reason or _waits(standing),
        Status.DEQUEUED: f"is being started{_on(standing.worker)}",
        Status.EXECUTING: f"executes{_on(standing.worker)}",
    }[standing.status]


def _queued(standing: Standing) -> str:
    """Name the first thing that must change before the run can be claimed."""
    kind = standing.route.rpartition("/")[2]
    key = f" for key {standing.concurrency_key!r}" if standing.concurrency_key else ""
    for holds, reason in (
        (standing.environment_paused, "the environment is paused"),
        (standing.queue_paused, f"queue {standing.queue!r} is paused"),
        (
            not standing.has_worker,
            f"no connected worker offers its version for {kind} runs",
        ),
        (
            _is_full(standing.lane_running, standing.concurrency_limit),
            f"queue {standing.queue!r}{key} is at its limit of {standing.concurrency_limit}",
        ),
        (
            _is_full(standing.queue_running, standing.total_limit),
            f"queue {standing.queue!r} is at its total limit of {standing.total_limit}",
        ),
        (
            standing.queue_running >= standing.base_limit,
            f"queue {standing.queue!r} is at {standing.base_limit}, the most one queue may have",
        ),
        (
            standing.rate_until is not None,
            f"queue {standing.queue!r}{key} is at its rate until {_moment(standing.rate_until)}",
        ),
        (
            _is_full(standing.environment_running, standing.environment_limit),
            f"the environment is at its limit of {standing.environment_limit}",
        ),
    ):
        if holds:
            return reason
    return f"waits for a free {kind} place on a worker"


def _parked(standing: Standing) -> str:
    queue = "" if standing.has_queue else f" and queue {standing.queue!r}"
    return f"is parked until a version declares its task{queue}"


def _waits(standing: Standing) -> str:
    keys = standing.awaiting or ()
    if not keys:
        return "waits"
    named = ", ".join(map(_entry, keys[:_MOST_NAMED]))
    rest = len(keys) - _MOST_NAMED
    return f"waits for {named} and {rest} more" if rest > 0 else f"waits for {named}"


def _entry(key: str) -> str:
    """Return an entry's key as people say it."""
    found = _ENTRY.search(key)
    if found is None:
        return key
    kind, name, occurrence = found.groups()
    said = "a wait" if kind == "wait" else f"{kind} {name}"
    return said if occurrence == "0" else f"{said} (number {int(occurrence) + 1})"


def _is_full(running: int, limit: int | None) -> bool:
    return limit is not None and running >= limit


def _on(worker: str | None) -> str:
    return f" on worker {worker}" if worker else ""


def _moment(moment: datetime | None) -> str:
    if moment is None:
        return "a moment that is not known"
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
