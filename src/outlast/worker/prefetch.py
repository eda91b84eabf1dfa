"""How many `def` runs a worker claims beyond its processes, so that short ones follow at once.

A process that asks for its next run only at the end of the one before waits for two commits. Runs
that are shorter than that would spend most of their process's time so.
"""

WORTH = 0.1
"""Seconds of work that a process may have ahead of it."""
MOST = 64
"""Claims ahead of one process, however short its runs are."""
PATIENCE = 0.25
"""Seconds after which a claim that was taken ahead goes back: a long run is in its way."""

_WEIGHT = 0.1  # of the newest run in the mean


class Prefetch:
    """Decides from how long runs took. `depth` is per process."""

    def __init__(self) -> None:
        self.depth = 0
        self._mean: float | None = None

    def ended(self, seconds: float) -> bool:
        """Hear how long a run took; say whether `depth` has changed."""
        self._mean = (
            seconds if self._mean is None else self._mean + _WEIGHT * (seconds - self._mean)
        )
        worth = min(MOST, int(WORTH / max(self._mean, WORTH / MOST)))
        if self.depth / 2 <= worth < max(2 * self.depth, 1):
            return False  # each change is told, and while it travels turns claim too little
        self.depth = 1 << worth.bit_length() - 1 if worth else 0
        return True

    def stop(self) -> None:
        """Hear that a claim waited in vain."""
        self.depth = 0
        self._mean = max(PATIENCE, self._mean or 0.0)
