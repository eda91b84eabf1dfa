"""What a run may use: its `max_duration` of active time, and the memory of its machine.

The supervisor watches both, so code that blocks or hangs cannot escape. The kernel keeps the limit
of memory where cgroup v2 lets it; elsewhere memory is measured once a second, and what allocates
faster than that is the kernel's to end.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from outlast.protocol.frames import Kind, frame
from outlast.protocol.machines import Machine
from outlast.protocol.messages import Cancel, Crash
from outlast.protocol.outcomes import RunError
from outlast.worker import memory
from outlast.worker.holdings import Holding
from outlast.worker.place import Place

GRACE = 5.0
"""Seconds from `MaxDurationExceeded` in the code to the end of its process."""

_ADVICE = "ask for a larger one, or name one in Retry(out_of_memory=...)"

logger = logging.getLogger("outlast.worker")


class Ceilings:
    """Ends what exceeds its ceiling; `blame` ends a process for what one of its runs did."""

    def __init__(
        self, machines: Mapping[str, Machine], blame: Callable[[Holding, RunError], None]
    ) -> None:
        self._machines = machines
        self._blame = blame

    def begin(self, holding: Holding, place: Place) -> None:
        """Let the kernel keep the memory limit of a run, where it can."""
        if place.group is not None:
            machine = self._machines.get(holding.machine or "")
            kept = place.group.limit(None if machine is None else machine.bytes)
            place.limited = kept and machine is not None

    def explain(self, place: Place, executing: Sequence[Holding]) -> None:
        """Blame the run whose process the kernel ended for want of memory."""
        if place.blame is not None or place.killed or not executing:
            return
        if place.group is None or not place.group.ran_out():
            return
        holding = executing[0]
        machine = self._machines.get(holding.machine or "")
        if place.limited and machine is not None:
            message = (
                f"run {holding.run} needed more than the {machine.bytes / 1024**2:.0f} MB of "
                f"machine {holding.machine}, and the kernel ended it; {_ADVICE}"
            )
        else:
            message = (
                f"the system was out of memory and ended the process of run {holding.run}; give "
                "the host more, or give the task a machine"
            )
        place.blame = Crash((), holding.run, RunError("out_of_memory", "OutOfMemory", message))

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
        places = {
            each.place.pid: each
            for each in holdings
            if each.place is not None and not each.place.limited
        }
        for pid, used in memory.of_groups(places).items():
            holding = places[pid]
            machine = holding.machine or ""
            limit = self._machines[machine].bytes
            if used > limit:
                message = (
                    f"run {holding.run} used {used / 1024**2:.0f} MB of the "
                    f"{limit / 1024**2:.0f} MB of machine {machine}; {_ADVICE}"
                )
                self._blame(holding, RunError("out_of_memory", "OutOfMemory", message))


def too_large(size: int) -> RunError:
    """Return the error of a run that says so many bytes at once."""
    return RunError(
        "system",
        "MessageTooLarge",
        f"the run sent {size // 1_000_000} MB at once, more than a link takes; return less, or "
        "store it elsewhere and return where",
    )
