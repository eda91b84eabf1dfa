"""Clocks of one process; durable times come from the database instead."""

import time


def boot_seconds() -> float:
    """Return seconds of a clock that also counts while the machine sleeps, where there is one.

    Leases are judged by it: a laptop that slept through its lease has lost it.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) if clock is not None else time.monotonic()
