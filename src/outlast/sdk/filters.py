"""Which runs to list or to act upon: one vocabulary, written into a query or into a body."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, TypedDict

from outlast.sdk.durations import moment
from outlast.sdk.errors import UsageError

Several = str | Sequence[str]


class RunFilters(TypedDict, total=False):
    """Which runs. Texts are alternatives when there are several; different fields add up."""

    status: Several
    task: Several
    version: Several
    tag: Several
    queue: Several
    machine: Several
    batch: str
    bulk_action: str
    schedule: str
    error: str
    replay_of: str
    parent: str
    root_only: bool
    is_test: bool
    period: str
    created_after: datetime
    created_before: datetime


_NAMES: Final = {
    "status": "status",
    "task": "taskIdentifier",
    "version": "version",
    "tag": "tag",
    "queue": "queue",
    "machine": "machine",
    "batch": "batch",
    "bulk_action": "bulkAction",
    "schedule": "schedule",
    "error": "error",
    "replay_of": "replayOf",
    "parent": "parent",
    "root_only": "rootOnly",
    "is_test": "isTest",
    "period": "period",
    "created_after": "from",
    "created_before": "to",
}
_IN_TIME: Final = frozenset({"period", "from", "to"})


def in_query(filters: Mapping[str, object], call: str) -> dict[str, str]:
    """Return filters as a list's query has them, without the word `filter`."""
    query = {}
    for name, value in filters.items():
        wire = _wire(name, call)
        query[f"[createdAt][{wire}]" if wire in _IN_TIME else f"[{wire}]"] = _text(name, value)
    return query


def in_body(filters: RunFilters, call: str) -> dict[str, object]:
    """Return filters as a bulk action's body has them."""
    return {_wire(name, call): _value(name, value) for name, value in filters.items()}


def _wire(name: str, call: str) -> str:
    try:
        return _NAMES[name]
    except KeyError:
        known = ", ".join(sorted(_NAMES))
        raise UsageError(f"{call}: {name} is no filter; known are {known}") from None


def _value(name: str, value: object) -> object:
    if isinstance(value, datetime):
        return int(moment(value, name) * 1000)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [str(part) for part in value]
    return value


def _text(name: str, value: object) -> str:
    found = _value(name, value)
    if isinstance(found, bool):
        return str(found).lower()
    return ",".join(found) if isinstance(found, list) else str(found)
