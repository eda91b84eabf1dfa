"""How long ago a server last knew that this worker lives."""

from collections.abc import Callable

from outlast.protocol.frames import LEASE_SECONDS


class Lease:
    """The lease of a session, judged by a clock that counts sleep.

    A heartbeat counts from the moment it was sent: its answer may have lain in a buffer while this
    process was stopped.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sent: dict[int, tuple[float, int]] = {}
        self._number = 0
        self._fresh_at: float | None = None  # None: never welcomed
        self._excused_at = 0.0  # a server said that the database is away
        self.seconds = LEASE_SECONDS

    @property
    def opened(self) -> bool:
        """Whether a server ever took the session in."""
        return self._fresh_at is not None

    @property
    def silence(self) -> float:
        """Seconds without an answer after which another server is tried."""
        return self.seconds / 3

    def open(self, sent_at: float) -> None:
        """Start on a new socket whose hello was sent at that moment."""
        self._sent.clear()
        self._fresh_at = sent_at

    def sent(self, mark: int) -> int:
        """Note that a heartbeat goes out and return its number; `mark` comes with its answer."""
        self._number += 1
        self._sent[self._number] = (self._clock(), mark)
        return self._number

    def answered(self, number: int) -> tuple[bool, int]:
        """Count an answer: whether it is young enough to start something on, and its mark.

        A server may answer only the newest of several. One that does not say which it means is
        taken to mean the oldest.
        """
        answered = number or min(self._sent, default=0)
        if answered not in self._sent or self._fresh_at is None:
            return False, 0
        sent_at, mark = self._sent[answered]
        self._sent = {each: sent for each, sent in self._sent.items() if each > answered}
        self._fresh_at = max(self._fresh_at, sent_at)
        return self._clock() - sent_at < self.silence, mark

    def excuse(self) -> None:
        """Forgive the silence so far: the database is away, so nobody can be declared dead."""
        self._excused_at = self._clock()

    def silent(self) -> bool:
        """Say whether this server should have answered by now."""
        return self._age(self._heard_at) > self.silence

    def lost(self) -> bool:
        """Say whether others may have been given the runs."""
        return self._age(self._heard_at) > self.seconds * 0.8

    @property
    def _heard_at(self) -> float | None:
        return None if self._fresh_at is None else max(self._fresh_at, self._excused_at)

    def _age(self, since: float | None) -> float:
        return 0.0 if since is None else self._clock() - since
