"""The durable time of a test: it stands still until the test moves it."""

from datetime import UTC, datetime


class Clock:
    """Tells the engine what time it is. Begins now unless told otherwise."""

    def __init__(self, start: datetime | None = None) -> None:
        if start is not None and start.utcoffset() is None:
            raise ValueError(f"start has no time zone: {start}; write datetime(..., tzinfo=UTC)")
        self._now = start or datetime.now(UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self._now

    def seconds(self) -> float:
        """Return the time in seconds since the epoch."""
        return self._now.timestamp()

    def move(self, moment: datetime) -> None:
        """Let time pass until a moment; one that is past changes nothing."""
        self._now = max(self._now, moment)
