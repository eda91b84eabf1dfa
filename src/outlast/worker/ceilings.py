"""What a run may use: its `max_duration` of active time, and the memory of its machine.

The supervisor watches both, so code that blocks or hangs cannot escape. Memory is measured once a
second: what allocates faster than that is the kernel's to end.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from outlast.protocol.frames import Kind, frame
from outlast.protocol.machines import Machine
from outlast.protocol.messages import Cancel
from outlast.protocol.outcomes import RunError
from outlast.worker import memory
from outlast.worker.holdings import Holding

GRACE = 5.0
"""Seconds from `MaxDurationExceeded` in the code to the end of its process."""

logger = logging.getLogger("outlast.worker")


class Ceilings:
    """Ends what exceeds its ceiling; `blame` ends a process for what one of its runs did."""

    def __init__(
        self, machines: Mapping[str, Machine], blame: Callable[[Holding, RunError], None]
    ) -> None:
        self._machines = machines
        self._blame = blame

    def tend(self, holdings: Iterable[Holding]) -> None:
        """Look once. Call every second."""
        executing = [
            each
            for each in holdings
            if each.place is not None
            and not (each.parked or each.over)
            and each.place.blame is None
        ]
        now = time.monotonic()
        for holding in executing:
            if holding.max_duration is not None:
                self._check_time(holding, holding.max_duration, now)
        self._check_memory([each for each in executing if each.machine in self._machines])

    def _check_time(self, holding: Holding, limit: float, now: float) -> None:
        if holding.spent + now - holding.claimed_at < limit or holding.place is None:
            return
        why = f"worked longer than its max_duration of {limit:g} s; waits do not count"
        if holding.exceeded_at is None:
            holding.exceeded_at = now
            asked = Cancel(why, GRACE, overtime=True)
            holding.place.send(frame(Kind.CANCEL, asked, run=holding.run, token=holding.token))
        elif now - holding.exceeded_at >= GRACE:
            message = f"run {holding.run} {why}; {GRACE:g} s later its process was ended"
            self._blame(holding, RunError("timed_out", "MaxDurationExceeded", message))

    def _check_memory(self, holdings: list[Holding]) -> None:
        places = {each.place.pid: each for each in holdings if each.place is not None}
        for pid, used in memory.of_groups(places).items():
            holding = places[pid]
            machine = holding.machine or ""
            limit = self._machines[machine].bytes
            if used > limit:
                message = (
                    f"run {holding.run} used {used / 1024**2:.0f} MB of the "
                    f"{limit / 1024**2:.0f} MB of machine {machine}; ask for a larger one, or name "
                    "one in Retry(out_of_memory=...)"
                )
                self._blame(holding, RunError("out_of_memory", "OutOfMemory", message))
