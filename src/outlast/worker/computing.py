"""Names runs whose threads compute: they take turns with every other run of their executor."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from outlast.worker.run import Run
from outlast.worker.sync_run import SyncRun
from outlast.worker.whereabouts import line_of

ENOUGH_SECONDS: Final = 1.0
"""Processor time after which a thread that seldom waits is named."""
SHARE: Final = 0.4
"""How much of the time it wants the processor: two that compute get half of it each."""

_NANO = 1e-9

logger = logging.getLogger("outlast.worker")


@dataclass(frozen=True)
class Use:
    """What a thread has had of a processor, and waited for one, in seconds since it began."""

    used: float
    waited: float


@dataclass
class _Watched:
    at: float
    use: Use
    computed: float = 0.0  # seconds of processor time since it last waited for others
    is_named: bool = False


def read(thread: int) -> Use | None:
    """Return the use of a thread of this process by its number; None where nobody counts it."""
    try:
        text = Path(f"/proc/self/task/{thread}/schedstat").read_text()
    except OSError:
        return None
    used, waited, _ = map(int, text.split())
    return Use(used * _NANO, waited * _NANO)


class Computing:
    """Looks at the threads of runs; every run is named once."""

    def __init__(
        self,
        runs: Callable[[], Mapping[str, Run]],
        *,
        use_of: Callable[[int], Use | None] = read,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runs = runs
        self._use_of = use_of
        self._now = now
        self._watched: dict[str, _Watched] = {}

    def look(self) -> None:
        """Look once. From any thread, now and then."""
        now, before = self._now(), self._watched
        self._watched = {}
        for run in list(self._runs().values()):
            if not isinstance(run, SyncRun) or (number := run.function_thread.number) is None:
                continue
            if (use := self._use_of(number)) is not None:
                seen = before.get(run.id) or _Watched(now, use)
                self._watched[run.id] = self._judge(run, seen, now, use)

    def _judge(self, run: SyncRun, seen: _Watched, now: float, use: Use) -> _Watched:
        used = use.used - seen.use.used
        wanted = used + use.waited - seen.use.waited
        computed = seen.computed + used if wanted > SHARE * (now - seen.at) else 0.0
        is_named = seen.is_named or computed >= ENOUGH_SECONDS
        if is_named and not seen.is_named:
            self._name(run)
        return _Watched(now, use, computed, is_named)

    @staticmethod
    def _name(run: SyncRun) -> None:
        place = line_of(run.function_thread.frame())
        logger.warning(
            "run %s (task %s) computes, at %s: with threads=True it takes turns with every other "
            "run of this executor; without it the task has a process of its own",
            run.id,
            run.task.id,
            place,
        )
        run.reports.say(
            "WARN", f"the task has threads=True and computes, at {place}; threads are to wait in"
        )
