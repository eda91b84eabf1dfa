"""How long to wait before the next try: one formula for retries of runs and of requests."""

import random

from outlast.protocol.manifests import RetryPolicy


def delay(policy: RetryPolicy, failures: int) -> float | None:
    """Return seconds until the next attempt after `failures` failed ones; None: no more.

    `min(max_timeout, r * min_timeout * factor ** (failures - 1))`, with `r` in [1, 2) when it is
    randomised.
    """
    if failures >= policy.max_attempts:
        return None
    spread = 1 + random.random() if policy.randomize else 1.0  # noqa: S311 - jitter, not a secret
    return min(policy.max_timeout, spread * policy.min_timeout * policy.factor ** (failures - 1))
