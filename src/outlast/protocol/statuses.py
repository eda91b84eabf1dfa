"""The statuses of a run: which exist, what each consumer calls them, and which follow which.

The one table that SQL, the API, realtime rows, docs and badges are tested against.
"""

from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """What a run is doing, as stored."""

    DELAYED = "delayed"
    PENDING_VERSION = "pending_version"
    QUEUED = "queued"
    DEQUEUED = "dequeued"
    EXECUTING = "executing"
    WAITING = "waiting"
    RETRYING = "retrying"
    COMPLETED = "completed"
    CANCELED = "canceled"
    FAILED = "failed"
    CRASHED = "crashed"
    SYSTEM_FAILURE = "system_failure"
    TIMED_OUT = "timed_out"
    EXPIRED = "expired"


class Names(NamedTuple):
    """One status in the words of each consumer."""

    api: str
    legacy: str  # the API without the `x-trigger-api-version` header
    realtime: str  # what the official client expects in realtime rows


NAMES: dict[Status, Names] = {
    Status.DELAYED: Names("DELAYED", "DELAYED", "DELAYED"),
    Status.PENDING_VERSION: Names("PENDING_VERSION", "PENDING_VERSION", "PENDING_VERSION"),
    Status.QUEUED: Names("QUEUED", "QUEUED", "PENDING"),
    Status.DEQUEUED: Names("DEQUEUED", "EXECUTING", "DEQUEUED"),
    Status.EXECUTING: Names("EXECUTING", "EXECUTING", "EXECUTING"),
    Status.WAITING: Names("WAITING", "FROZEN", "WAITING_TO_RESUME"),
    Status.RETRYING: Names("EXECUTING", "REATTEMPTING", "RETRYING_AFTER_FAILURE"),
    Status.COMPLETED: Names("COMPLETED", "COMPLETED", "COMPLETED_SUCCESSFULLY"),
    Status.CANCELED: Names("CANCELED", "CANCELED", "CANCELED"),
    Status.FAILED: Names("FAILED", "FAILED", "COMPLETED_WITH_ERRORS"),
    Status.CRASHED: Names("CRASHED", "CRASHED", "CRASHED"),
    Status.SYSTEM_FAILURE: Names("SYSTEM_FAILURE", "SYSTEM_FAILURE", "SYSTEM_FAILURE"),
    Status.TIMED_OUT: Names("TIMED_OUT", "TIMED_OUT", "TIMED_OUT"),
    Status.EXPIRED: Names("EXPIRED", "EXPIRED", "EXPIRED"),
}

_ENDS = frozenset(
    {
        Status.COMPLETED,
        Status.CANCELED,
        Status.FAILED,
        Status.CRASHED,
        Status.SYSTEM_FAILURE,
        Status.TIMED_OUT,
        Status.EXPIRED,
    }
)

FINAL: frozenset[Status] = _ENDS
"""No transition leaves these."""

FAILED_ENDS: frozenset[Status] = _ENDS - {Status.COMPLETED, Status.CANCELED}
"""Ends that free the run's idempotency key; completed and canceled ones keep it."""

TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.DELAYED: frozenset({Status.QUEUED, Status.CANCELED, Status.EXPIRED}),
    Status.PENDING_VERSION: frozenset({Status.QUEUED, Status.CANCELED, Status.EXPIRED}),
    Status.QUEUED: frozenset({Status.DEQUEUED, Status.CANCELED, Status.EXPIRED, Status.FAILED}),
    Status.DEQUEUED: _ENDS | {Status.EXECUTING, Status.QUEUED, Status.RETRYING, Status.WAITING},
    Status.EXECUTING: _ENDS | {Status.QUEUED, Status.RETRYING, Status.WAITING},
    Status.WAITING: frozenset({Status.QUEUED, Status.CANCELED, Status.FAILED}),
    Status.RETRYING: frozenset({Status.QUEUED, Status.CANCELED}),
    **dict.fromkeys(_ENDS, frozenset[Status]()),
}
