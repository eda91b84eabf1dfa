"""How times, durations, numbers and JSON read on a page."""

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
from pydantic import JsonValue

_SHOWN_CHARS = 100_000
_MINUTE = 60
_THOUSAND = 1000


def span(seconds: float) -> str:
    """Return a duration in its two largest units. `live.js` knows the same rule."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def ago(moment: datetime) -> str:
    """Return how far a moment is from now, coarsely: it changes rarely while one looks."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    text = coarse(abs(seconds))
    return "now" if text == "0 s" else f"{text} ago" if seconds > 0 else f"in {text}"


def coarse(seconds: float) -> str:
    """Return a duration in its largest unit."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def between(start: datetime, end: datetime | None) -> str:
    """Return how long something took, or has taken until now."""
    return span(((end or datetime.now(UTC)) - start).total_seconds())


def exact(moment: datetime) -> str:
    """Return a moment in full."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def zoned(moment: datetime, zone: str) -> str:
    """Return a moment as a clock in a time zone shows it."""
    return moment.astimezone(ZoneInfo(zone)).strftime("%a %Y-%m-%d %H:%M %Z")


def clock(moment: str) -> str:
    """Return the time of day of a moment as the API writes it, for lines of one run."""
    return moment[11:23]


def pretty(value: JsonValue) -> str:
    """Return JSON as people read it; a text as itself."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    if len(text) > _SHOWN_CHARS:
        return f"{text[:_SHOWN_CHARS]}\n… {len(text) - _SHOWN_CHARS:,} more characters"
    return text


def is_json(text: str) -> bool:
    """Return whether a text that somebody typed is JSON."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def status(name: str) -> str:
    """Return a status as it is read aloud."""
    return name.lower().replace("_", " ")


def css(name: str) -> str:
    """Return a status as the name of a class."""
    return name.lower().replace("_", "-")


def count(number: float) -> str:
    """Return a number with a separator of thousands."""
    return (
        f"{number:,.0f}" if abs(number) >= _THOUSAND or number == int(number) else f"{number:.1f}"
    )


def size(count: float) -> str:
    """Return a number of bytes in its largest unit."""
    for unit in ("B", "kB", "MB"):
        if count < _THOUSAND:
            return f"{count:.0f} {unit}"
        count /= _THOUSAND
    return f"{count:.1f} GB"


def plural(number: int, word: str, several: str = "") -> str:
    """Return a number with its word."""
    return f"{number:,} {word if number == 1 else several or word + 's'}"


def share(metadata: dict[str, JsonValue] | None) -> float | None:
    """Return the share done, when a run's metadata says one in the usual ways."""
    value = (metadata or {}).get("progress")
    if isinstance(value, dict):
        done, total = value.get("done", value.get("current")), value.get("total")
        if isinstance(done, int | float) and isinstance(total, int | float) and total > 0:
            return min(1.0, max(0.0, done / total))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return min(1.0, max(0.0, value if value <= 1 else value / 100))
    return None
