"""Whether there is another try, when and where: one rule for executors, servers and requests."""

import random
from typing import NamedTuple

from outlast.protocol.manifests import MAX_ATTEMPTS, RetryPolicy
from outlast.protocol.outcomes import SUSPECTED, ErrorKind, RunError

NEVER_RETRIED: frozenset[ErrorKind] = frozenset(
    {"aborted", "payload", "output", "canceled", "replay", "timed_out", "expired"}
)
"""Kinds of failure that another attempt cannot cure, or must not have."""


class Again(NamedTuple):
    """Another attempt, `delay` seconds from now, on another machine if one is named."""

    delay: float
    machine: str | None = None


def delay(policy: RetryPolicy, failures: int) -> float | None:
    """Return seconds until the next attempt after `failures` failed ones; None: no more.

    `min(max_timeout, r * min_timeout * factor ** (failures - 1))`, in whole milliseconds, with `r`
    in [1, 2) when it is randomised. No run has more than 250 attempts.
    """
    if failures >= min(policy.max_attempts, MAX_ATTEMPTS):
        return None
    spread = 1 + random.random() if policy.randomize else 1.0  # noqa: S311 - jitter, not a secret
    try:
        grown = spread * policy.min_timeout * policy.factor ** (failures - 1)
    except OverflowError:
        grown = policy.max_timeout
    return round(min(policy.max_timeout, grown), 3)


def after(
    policy: RetryPolicy, failures: int, error: RunError, machine: str | None = None
) -> Again | None:
    """Return what follows when attempt number `failures` failed like this; None: it was the last.

    Out of memory, a run goes on with the machine that its policy names for it, once. Without one it
    would only fail the same way; but what was merely suspected is tried again like a crash.
    """
    if error.kind in NEVER_RETRIED:
        return None
    larger: str | None = None
    if error.kind == "out_of_memory":
        larger = policy.out_of_memory if policy.out_of_memory != machine else None
        if larger is None and error.type != SUSPECTED:
            return None
    pause = delay(policy, failures)
    return None if pause is None else Again(pause, larger)
