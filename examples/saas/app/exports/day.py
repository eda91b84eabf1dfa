"""The day of an export: what makes a second click on the same day the same export."""

from datetime import UTC, datetime


def day_bucket(moment: datetime) -> str:
    """Return the UTC day of an aware moment as `YYYY-MM-DD`."""
    if moment.tzinfo is None:
        raise ValueError("day_bucket needs an aware datetime; use datetime.now(UTC)")
    return moment.astimezone(UTC).strftime("%Y-%m-%d")
