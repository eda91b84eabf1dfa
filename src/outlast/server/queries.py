"""Query parameters of lists, as the official client sends them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from outlast.engine.filters import DEFAULT_PAGE, Page, RunFilters, statuses_named
from outlast.engine.waitpoints import WaitpointFilters, WaitpointStatus
from outlast.protocol.durations import parse_duration
from outlast.server.contract import BOOLEAN, TEXT, Schema
from outlast.server.problems import Problem

_SEVERAL: Schema = {"type": "string", "description": "one or several, with commas between"}
_MILLISECONDS: Schema = {
    "type": "integer",
    "minimum": 0,
    "maximum": 253_402_300_799_999,
    "description": "milliseconds since the epoch",
}
_CREATED: dict[str, Schema] = {
    "filter[createdAt][from]": _MILLISECONDS,
    "filter[createdAt][to]": _MILLISECONDS,
    "filter[createdAt][period]": {"type": "string", "description": "a duration such as 1d"},
}
RUN_FILTERS: dict[str, Schema] = {
    "filter[status]": _SEVERAL,
    "filter[taskIdentifier]": _SEVERAL,
    "filter[version]": _SEVERAL,
    "filter[tag]": _SEVERAL,
    "filter[queue]": _SEVERAL,
    "filter[machine]": _SEVERAL,
    "filter[batch]": TEXT,
    "filter[bulkAction]": TEXT,
    "filter[region]": {"type": "string", "description": "there is one; every run is in it"},
    "filter[schedule]": TEXT,
    "filter[error]": {"type": "string", "description": "the id of a group of failures"},
    "filter[replayOf]": TEXT,
    "filter[parent]": TEXT,
    "filter[rootOnly]": BOOLEAN,
    "filter[isTest]": BOOLEAN,
    **_CREATED,
}
"""What a list of runs can be asked for; other filters are refused."""
TOKEN_FILTERS: dict[str, Schema] = {
    "filter[status]": {"type": "string", "description": "WAITING, COMPLETED, TIMED_OUT"},
    "filter[tags]": _SEVERAL,
    "filter[idempotencyKey]": TEXT,
    **_CREATED,
}
PAGE: dict[str, Schema] = {
    "page[size]": {"type": "integer", "minimum": 1, "maximum": 100, "default": DEFAULT_PAGE},
    "page[after]": {"type": "string", "description": "the `next` of the page before"},
    "page[before]": {"type": "string", "description": "the `previous` of the page after"},
}
TOKEN_STATUSES: dict[str, WaitpointStatus] = {
    "WAITING": "waiting",
    "COMPLETED": "completed",
    "TIMED_OUT": "timed_out",
}
_BOOLEANS = {"true": True, "false": False}
_DIGITS = 16
_LATEST_MS = 253_402_300_799_999  # the end of the year 9999


def read_filters(query: Mapping[str, str]) -> RunFilters:
    """Return which runs a list asks for. Raises `Problem`, also for a filter nobody knows."""
    for name in query:
        if name.startswith("filter[") and name not in RUN_FILTERS:
            raise _wrong(name, f"{name[:80]} is not supported by this server")
    start = _moment(query, "filter[createdAt][from]")
    return RunFilters(
        statuses=statuses_named(_values(query, "filter[status]")),
        tasks=_values(query, "filter[taskIdentifier]"),
        versions=_values(query, "filter[version]"),
        tags=_values(query, "filter[tag]"),
        queues=_values(query, "filter[queue]"),
        machines=_values(query, "filter[machine]"),
        batch=query.get("filter[batch]") or None,
        bulk=query.get("filter[bulkAction]") or None,
        schedule=query.get("filter[schedule]") or None,
        error=query.get("filter[error]") or None,
        replay_of=query.get("filter[replayOf]") or None,
        parent=query.get("filter[parent]") or None,
        root_only=_boolean(query, "filter[rootOnly]") or False,
        is_test=_boolean(query, "filter[isTest]"),
        created_from=_since(query) if start is None else start,
        created_to=_moment(query, "filter[createdAt][to]"),
    )


def read_token_filters(query: Mapping[str, str]) -> WaitpointFilters:
    """Return which waitpoint tokens a list asks for. Raises `Problem`."""
    statuses = _values(query, "filter[status]")
    for status in statuses:
        if status not in TOKEN_STATUSES:
            known = ", ".join(TOKEN_STATUSES)
            raise _wrong("filter[status]", f"{status[:40]!r} is no status of a token; use {known}")
    start = _moment(query, "filter[createdAt][from]")
    return WaitpointFilters(
        statuses=tuple(TOKEN_STATUSES[status] for status in statuses),
        tags=_values(query, "filter[tags]"),
        idempotency_key=query.get("filter[idempotencyKey]") or None,
        created_from=_since(query) if start is None else start,
        created_to=_moment(query, "filter[createdAt][to]"),
    )


def read_page(query: Mapping[str, str]) -> Page:
    """Return which page of a list is asked for. Raises `Problem`."""
    text = query.get("page[size]") or str(DEFAULT_PAGE)
    if not text.isascii() or not text.isdigit():
        raise _wrong("page[size]", "page[size] must be a number")
    return Page(
        size=int(text[:9]),
        after=query.get("page[after]") or None,
        before=query.get("page[before]") or None,
    )


def _values(query: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(value for value in query.get(name, "").split(",") if value)


def _boolean(query: Mapping[str, str], name: str) -> bool | None:
    text = query.get(name)
    if not text:
        return None
    if text not in _BOOLEANS:
        raise _wrong(name, f"{name} must be true or false")
    return _BOOLEANS[text]


def _moment(query: Mapping[str, str], name: str) -> datetime | None:
    """Return a moment given as milliseconds since the epoch."""
    text = query.get(name)
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS or int(text) > _LATEST_MS:
        raise _wrong(name, f"{name} must be milliseconds since the epoch")
    return datetime.fromtimestamp(int(text) / 1000, UTC)


def _since(query: Mapping[str, str]) -> datetime | None:
    text = query.get("filter[createdAt][period]")
    if not text:
        return None
    seconds = parse_duration(text)
    now = datetime.now(UTC)
    if seconds is None or seconds > now.timestamp():
        raise _wrong("filter[createdAt][period]", "the period must be a duration such as 1d")
    return now - timedelta(seconds=seconds)


def _wrong(param: str, message: str) -> Problem:
    return Problem(400, "invalid_query", message, param=param)
