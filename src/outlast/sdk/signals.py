"""Whether a run has been asked to stop, for code that looks itself."""

import threading


class CancelSignal:
    """Set once when the run is canceled or has used up its `max_duration`. Any thread may look."""

    __slots__ = ("_event", "_reason")

    def __init__(self) -> None:
        self._event = threading.Event()
        self._reason: str | None = None

    def __bool__(self) -> bool:
        return self._event.is_set()

    @property
    def is_set(self) -> bool:
        """Whether the run is to stop."""
        return self._event.is_set()

    @property
    def reason(self) -> str | None:
        """Why; None while it is not."""
        return self._reason

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until then, at most `timeout` seconds; return `is_set`."""
        return self._event.wait(timeout)

    def set(self, reason: str) -> None:
        """Ask the code to stop."""
        if self._reason is None:
            self._reason = reason
            self._event.set()
