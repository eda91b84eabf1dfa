"""When a cron pattern fires: five fields, `L` for the last day, in a time zone and across its DST.

As in Debian's cron, a fixed time that a change of clocks skips fires right after it, one that comes
twice fires once, and an interval (`*/30`) fires by real time.
"""

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from outlast.engine.errors import InvalidRequest

MAX_PATTERN_CHARS = 200
_FIELDS = 5
_WINDOW = re.compile(r"(\d{1,4})([mh%])")
_MOST_WINDOW = timedelta(hours=24)
_PERCENT = 100


def check(pattern: str, timezone: str, window: str | None = None) -> None:
    """Raise `InvalidRequest` that names the field, for times that cannot be."""
    _check_pattern(pattern)
    _check_timezone(timezone)
    if window is not None:
        _check_window(window)


def _check_pattern(pattern: str) -> None:
    """Raise `InvalidRequest` unless the pattern has five fields and fires at some time."""
    if len(pattern) > MAX_PATTERN_CHARS or len(pattern.split()) != _FIELDS:
        raise InvalidRequest(
            f"cron {pattern[:80]!r}: write five fields (minute hour day month weekday), as in "
            "'0 9 * * 1-5'; nothing runs more often than each minute",
            param="cron",
        )
    try:
        next(CronSim(pattern, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise InvalidRequest(f"cron {pattern!r}: {error}", param="cron") from error
    except StopIteration:
        raise InvalidRequest(f"cron {pattern!r} never fires", param="cron") from None


def _check_timezone(name: str) -> None:
    """Raise `InvalidRequest` unless this is a time zone of the IANA database."""
    if name not in timezones():
        raise InvalidRequest(
            f"timezone {name[:80]!r} is unknown; use an IANA name such as 'Europe/Berlin' or 'UTC'",
            param="timezone",
        )


@lru_cache(maxsize=1)
def timezones() -> tuple[str, ...]:
    """Return the names of all time zones, sorted; `UTC` is one of them."""
    return tuple(sorted(available_timezones()))


def _check_window(window: str) -> None:
    """Raise `InvalidRequest` unless a window is minutes, hours (at most 24 h) or a percentage."""
    found = _WINDOW.fullmatch(window)
    if found is not None:
        number, unit = int(found.group(1)), found.group(2)
        if number > 0 and (
            number <= _PERCENT if unit == "%" else _length(number, unit) <= _MOST_WINDOW
        ):
            return
    raise InvalidRequest(
        f"window {window[:80]!r}: use minutes or hours up to '24h', or a share such as '30%'",
        param="window",
    )


def occurrences(pattern: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """Yield the moments, in UTC, at which a checked pattern fires after a moment."""
    for moment in CronSim(pattern, after.astimezone(ZoneInfo(timezone))):
        yield moment.astimezone(UTC)


def latest(pattern: str, timezone: str, until: datetime) -> datetime:
    """Return the last moment, not after `until`, at which a checked pattern fires."""
    just_after = until + timedelta(microseconds=1)
    sim = CronSim(pattern, just_after.astimezone(ZoneInfo(timezone)), reverse=True)
    return next(sim).astimezone(UTC)


def effective(nominal: datetime, following: datetime, window: str | None, seed: str) -> datetime:
    """Return when a schedule with a window fires: later by a share of it that is its own for ever.

    Never later than the next nominal moment.
    """
    found = _WINDOW.fullmatch(window) if window else None
    if found is None:
        return nominal
    gap = following - nominal
    number, unit = int(found.group(1)), found.group(2)
    length = gap * number / _PERCENT if unit == "%" else min(gap, _length(number, unit))
    share = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=4).digest()) / 2**32
    return nominal + timedelta(seconds=int(length.total_seconds() * share))


def explain(pattern: str) -> str:
    """Return a pattern in words."""
    return str(CronSim(pattern, datetime(2024, 1, 1, tzinfo=UTC)).explain())


def _length(number: int, unit: str) -> timedelta:
    return timedelta(minutes=number) if unit == "m" else timedelta(hours=number)
