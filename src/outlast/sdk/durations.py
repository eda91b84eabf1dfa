"""Durations and moments as user code writes them."""

import re
from datetime import UTC, datetime, timedelta

from outlast.sdk.errors import UsageError

Duration = timedelta | float | str
"""`timedelta`, seconds, or text such as ``"1h30m"``, ``"500ms"``, ``"7d"``."""

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|w|d|hr|h|m|s)")
_SECONDS = {
    "w": 604_800.0,
    "d": 86_400.0,
    "hr": 3_600.0,
    "h": 3_600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 0.001,
}


def seconds(value: Duration, name: str) -> float:
    """Return a duration in seconds. `name` is the option that errors name."""
    if isinstance(value, timedelta):
        result = value.total_seconds()
    elif isinstance(value, str):
        result = _parse(value, name)
    elif type(value) in (int, float):
        result = float(value)
    else:  # a bool, or what an unchecked caller gave
        raise UsageError(
            f"{name} is a {type(value).__name__}; give a timedelta, seconds, "
            'or text such as "1h30m"'
        )
    if not 0 <= result < float("inf"):
        raise UsageError(f"{name} must not be negative or endless: {value!r}")
    return result


def moment(value: datetime, name: str) -> float:
    """Return an aware datetime as seconds since the epoch."""
    if value.tzinfo is None or value.utcoffset() is None:
        raise UsageError(
            f"{name} has no time zone; make it aware, for example with datetime.now(UTC)"
        )
    return value.timestamp()


def iso(value: float) -> str:
    """Return seconds since the epoch as the API writes them."""
    text = datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _parse(text: str, name: str) -> float:
    compact = text.replace(" ", "")
    parts = _PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise UsageError(
            f'{name} is not a duration: {text!r}; write "30s", "1h30m", "500ms" or "7d"'
        )
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
