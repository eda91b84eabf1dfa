"""Durations and moments as text on the wire: `1h30m`, `2d`, `45s`; ISO 8601 in UTC."""

import math
import re
from datetime import UTC, datetime

_UNITS = {"w": 604_800, "d": 86_400, "hr": 3_600, "h": 3_600, "m": 60, "s": 1}
_PART = re.compile(r"(\d{1,9})(w|d|hr|h|m|s)")
_WHOLE = re.compile(r"(?:\d{1,9}(?:w|d|hr|h|m|s))+")


def parse_duration(text: str) -> float | None:
    """Return the seconds of a duration, or None when the text is none."""
    if not _WHOLE.fullmatch(text):
        return None
    return float(sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(text)))


def whole_seconds(seconds: float | None) -> str | None:
    """Return a duration as the wire writes it, which knows whole seconds only."""
    return None if seconds is None else f"{math.ceil(seconds)}s"


def iso(moment: float | None) -> str | None:
    """Return seconds since the epoch as the wire writes a moment."""
    if moment is None:
        return None
    text = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
