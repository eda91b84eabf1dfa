"""How long a run has worked: waits do not count."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from outlast.sdk.inside import required


@dataclass(frozen=True, slots=True)
class Usage:
    """Active time, without waits: of this attempt, and of all attempts so far."""

    attempt: timedelta
    total: timedelta


class Measured:
    """What a `with usage.measure()` block took. Final once the block has ended."""

    __slots__ = ("cpu", "elapsed")

    def __init__(self) -> None:
        self.elapsed = timedelta()
        """Time on the wall."""
        self.cpu = timedelta()
        """Time of the processor, of the whole process."""


def get_current() -> Usage:
    """Return what the run has used so far, inside a task."""
    attempt, total = required("usage.get_current()").active_seconds()
    return Usage(timedelta(seconds=attempt), timedelta(seconds=total))


@contextmanager
def measure() -> Iterator[Measured]:
    """Measure a block, inside a task or anywhere: `with usage.measure() as used: ...`."""
    measured = Measured()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield measured
    finally:
        measured.elapsed = timedelta(seconds=time.perf_counter() - wall)
        measured.cpu = timedelta(seconds=time.process_time() - cpu)
