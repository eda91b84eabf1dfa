"""Rate limits: a token bucket per key, and one per environment for the runs of batches.

In the memory of each server, because storing them would cost every request a write: behind N
servers a key may do up to N times as much. An environment's own limit of requests counts before the
server's; without either there is none.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MOST_BUCKETS = 100_000
ALLOWANCE = "outlast.allowance"
"""Where a request carries what is left to its key, for the gate to tell."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests (or runs) per minute, and how many may come at once after a pause."""

    per_minute: int
    burst: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a bucket after a request; one that is not served has seconds to `wait`."""

    limit: int
    remaining: int
    full_in: float
    wait: float = 0.0

    def headers(self, now: float) -> dict[str, str]:
        """Return what the official client reads; the reset is in milliseconds since the epoch."""
        reset = now + (self.wait or self.full_in)
        return {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(self.remaining),
            "x-ratelimit-reset": str(math.ceil(reset * 1000)),
        }


class Rates:
    """The buckets of one server; the longest unused are forgotten first."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str, rate: Rate, count: int = 1) -> Allowance:
        """Count requests against a bucket, which is full at the moment that is kept for it.

        More than its burst at once wait for a full bucket, and leave a debt.
        """
        now = self._clock()
        each = 60.0 / rate.per_minute
        missing = max(0.0, self._full_at.get(key, now) - now)
        held = rate.burst - missing / each
        needed = min(count, rate.burst)
        if held < needed:
            return Allowance(rate.burst, max(0, int(held)), missing, wait=(needed - held) * each)
        self._full_at[key] = now + missing + count * each
        self._full_at.move_to_end(key)
        while len(self._full_at) > MOST_BUCKETS:
            self._full_at.popitem(last=False)
        return Allowance(rate.burst, max(0, int(held - count)), missing + count * each)
