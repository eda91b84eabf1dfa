"""Which executor takes a claim: shared ones by load, dedicated ones one run at a time.

Processes are started ahead of need. Parked runs hold no place: a shared executor keeps them beside
the others, a dedicated one that parks a run is replaced by a fresh process beside it.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from outlast.protocol.frames import Frame, Kind
from outlast.protocol.manifests import ExecutorKind
from outlast.worker.cgroups import Groups
from outlast.worker.memory import resident
from outlast.worker.place import Place
from outlast.worker.prefetch import PATIENCE, Prefetch
from outlast.worker.processes import Launch, Process

REUSES = 10_000
"""Runs that a dedicated executor takes before it is replaced; a new process costs half a second."""
GROWN_BYTES = 512 * 1024 * 1024
"""What a dedicated executor may grow by before it is replaced."""
PARKED_RUNS = 10_000
PARKED_BYTES = 256 * 1024 * 1024
"""What runs parked past `warm_wait` may cost before their executor retires."""
PARKED_PROCESSES = 4
"""Dedicated executors that only park a run, per process that may execute one."""
UNPLACED = 5.0
"""Seconds that a claim may wait for an executor to start."""

_MOST_START_DELAY = 10.0

logger = logging.getLogger("outlast.worker")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much the pool may run at once."""

    loops: int
    processes: int
    shared_concurrency: int
    warm_wait: float
    ahead: bool  # the version has dedicated tasks: keep a process warm for them


class Pool:
    """The executors of one version.

    `on_frames(place, frames)` and `on_exit(place, code)` tell what executors say and that one
    ended; `assign(run, place)` gives a waiting claim its place; `forget(place)` says that the
    parked runs of a place are about to be gone; `on_capacity` follows a change of how much can run.
    """

    def __init__(
        self,
        launch: Callable[[ExecutorKind], Launch],
        limits: Limits,
        *,
        on_frames: Callable[[Place, list[Frame]], None],
        on_exit: Callable[[Place, int], None],
        assign: Callable[[str, Place], None],
        forget: Callable[[Place], None],
        on_capacity: Callable[[], None],
        groups: Groups | None = None,
    ) -> None:
        self._launch = launch
        self._groups = groups
        self._limits = limits
        self._on_frames = on_frames
        self._on_exit = on_exit
        self._assign = assign
        self._forget = forget
        self._on_capacity = on_capacity
        self._waiting: dict[ExecutorKind, deque[str]] = {"shared": deque(), "dedicated": deque()}
        self._failures = 0
        self._retry: asyncio.TimerHandle | None = None
        self._closing = False
        self.places: list[Place] = []
        self.prefetch = Prefetch()
        self._empty = asyncio.Event()
        self._empty.set()

    # What the server may send

    def capacity(self) -> dict[str, int]:
        """Return how many runs may be claimed for this worker at once, by executor kind."""
        slots = self.slots()
        return {**slots, "dedicated": slots["dedicated"] * (1 + self.prefetch.depth)}

    def slots(self) -> dict[str, int]:
        """Return how many runs could execute at once, by executor kind."""
        if self._closing:
            return {"shared": 0, "dedicated": 0}
        shared = sum(self._takes(place) for place in self._of("shared"))
        works = any(place.ready for place in self.places)
        return {
            "shared": shared * self._limits.shared_concurrency,
            "dedicated": self._limits.processes if works else 0,
        }

    # Runs come and go

    def start(self) -> None:
        """Start the executors that every worker has."""
        self._fill()

    def place(self, run: str, kind: ExecutorKind) -> None:
        """Find a place for a run now or as soon as there is one: then `assign` is called."""
        if kind == "shared" and not self._waiting[kind]:
            place = self._choose(kind)
            if place is not None:  # it takes any number: no other has to start for this
                self._take(run, place)
                return
        self._waiting[kind].append(run)
        self._dispatch()

    def withdraw(self, run: str) -> None:
        """Forget a run that still waits for a place."""
        for waiting in self._waiting.values():
            if run in waiting:
                waiting.remove(run)

    @property
    def waits(self) -> bool:
        """Whether a run has no place yet."""
        return any(self._waiting.values())

    def waiting(self) -> list[str]:
        """Return the runs that have no place yet."""
        return [run for waiting in self._waiting.values() for run in waiting]

    def resume(self, run: str, place: Place) -> None:
        """Let a parked run execute again, beyond the limits if need be."""
        place.parked.pop(run, None)
        place.executing.add(run)

    def park(self, run: str, place: Place) -> None:
        """Free the place of a run that waits."""
        place.executing.discard(run)
        place.parked[run] = time.monotonic()
        if place.kind == "dedicated":
            self._make_room()
        self._settle(place)

    def release(self, run: str, place: Place, *, took: float | None = None) -> None:
        """Free the place of a run that is over, here at least; it took so many seconds."""
        place.executing.discard(run)
        place.parked.pop(run, None)
        if took is not None and place.kind == "dedicated" and self.prefetch.ended(took):
            self._on_capacity()
        self._settle(place)

    def patience(self, kind: ExecutorKind) -> float:
        """Return how many seconds a claim may wait here: not long, if a long run is in its way."""
        is_behind = kind == "dedicated" and self._executing(kind) >= self._limits.processes
        return PATIENCE if is_behind and self.prefetch.depth else UNPLACED

    def stop_prefetching(self) -> None:
        """Take no claims ahead until short runs are seen again."""
        self.prefetch.stop()
        self._on_capacity()

    # Its executors come and go

    def avoid(self, stuck: set[Place]) -> None:
        """Send nothing new to shared executors whose loop is blocked; others start beside them."""
        shared = [place for place in self._of("shared") if not place.leaving]
        changed = [place for place in shared if place.stuck != (place in stuck)]
        for place in changed:
            place.stuck = place in stuck
        surplus = len(shared) - self._limits.loops
        for place in shared:
            idle = place.ready and not (place.executing or place.parked)
            if surplus > 0 and idle and not any(other.stuck for other in shared):
                surplus -= 1
                place.leaving = True
                self._settle(place)
        if changed:
            self._on_capacity()
            self._dispatch()

    def retire_overdue(self) -> None:
        """Retire shared executors whose long-parked runs cost too much. Call now and then."""
        limit = time.monotonic() - self._limits.warm_wait
        for place in list(self._of("shared")):
            if place.leaving or not place.parked:
                continue
            overdue = sum(since < limit for since in place.parked.values())
            grown = resident(place.pid) - place.baseline if overdue else 0
            if overdue >= PARKED_RUNS or grown > PARKED_BYTES:
                self.retire(place, f"{overdue} runs wait in it")

    def retire(self, place: Place, why: str) -> None:
        """Replace an executor; it ends when its runs are over, or wait."""
        if place.leaving:
            return
        logger.info("executor %d retires: %s", place.pid, why)
        place.leaving = True
        self._settle(place)
        self._fill()
        self._on_capacity()

    def renew(self) -> None:
        """Let fresh executors take what comes: what they are started with has changed.

        The present ones end when nothing executes in them any more.
        """
        for place in list(self.places):
            if place.leaving or self._closing:
                continue
            if not place.ready:
                place.kill()
                continue
            place.leaving = True
            self._settle(place)
        self._fill()
        self._on_capacity()

    def say_goodbye(self, reason: str) -> None:
        """Take nothing new and let every executor end at the next entries of its runs."""
        self._closing = True
        if self._retry is not None:
            self._retry.cancel()
        for place in list(self.places):
            if place.ready:
                place.say_goodbye(reason)
            else:
                place.kill()

    def kill(self) -> None:
        """End every executor at once; nothing new starts."""
        self._closing = True
        if self._retry is not None:
            self._retry.cancel()
        for place in list(self.places):
            place.kill()

    async def ended(self) -> None:
        """Wait until no executor lives."""
        await self._empty.wait()

    def _fill(self) -> None:
        if self._closing or self._retry is not None:
            return
        staying = [place for place in self._of("shared") if not place.leaving]
        helping = sum(not place.stuck for place in staying)
        most = 2 * self._limits.loops  # a stuck one gets a helper, a stuck helper none
        for _ in range(min(self._limits.loops - helping, most - len(staying))):
            self._begin("shared")
        busy = sum(self._counts(place) for place in self._of("dedicated"))
        idle = sum(self._is_free(place) for place in self._of("dedicated"))
        wanted = len(self._waiting["dedicated"]) + self._limits.ahead
        for _ in range(min(wanted - idle, self._limits.processes - busy)):
            self._begin("dedicated")

    def _begin(self, kind: ExecutorKind) -> None:
        place = Place(kind)
        self.places.append(place)
        self._empty.clear()
        place.process = Process(
            self._launch(kind),
            on_frames=lambda frames: self._receive(place, frames),
            on_exit=lambda code: self._ended(place, code),
        )
        if kind == "dedicated" and self._groups is not None:
            place.group = self._groups.enclose(place.pid)

    def _receive(self, place: Place, frames: list[Frame]) -> None:
        if not place.ready and any(each.kind == Kind.READY for each in frames):
            place.ready = True
            place.baseline = resident(place.pid)
            self._failures = 0
            self._on_capacity()
            self._dispatch()
        self._on_frames(place, frames)

    def _ended(self, place: Place, code: int) -> None:
        self.places.remove(place)
        if not place.ready and not place.killed:
            self._failures += 1
            if self._retry is None and not self._closing:
                wait = min(_MOST_START_DELAY, 0.2 * 2 ** min(self._failures, 10))
                self._retry = asyncio.get_running_loop().call_later(wait, self._try_again)
        if not self.places:
            self._empty.set()
        self._on_exit(place, code)
        if place.group is not None:
            place.group.end()
        if place.ready:
            self._on_capacity()
        self._dispatch()

    def _try_again(self) -> None:
        self._retry = None
        self._fill()

    def _dispatch(self) -> None:
        for kind, waiting in self._waiting.items():
            while waiting and (place := self._choose(kind)) is not None:
                self._take(waiting.popleft(), place)
        self._fill()

    def _take(self, run: str, place: Place) -> None:
        place.executing.add(run)
        place.taken += 1
        self._assign(run, place)

    def _choose(self, kind: ExecutorKind) -> Place | None:
        if kind == "shared":
            least: Place | None = None
            for place in self.places:
                if place.kind != kind or not self._takes(place):
                    continue
                if least is None or len(place.executing) < len(least.executing):
                    least = place
            return least
        if self._executing(kind) >= self._limits.processes:
            return None
        free = (each for each in self._of(kind) if each.ready and self._is_free(each))
        return next(free, None)

    def _settle(self, place: Place) -> None:
        """Let a place go that has done its share, once it is idle."""
        if place.kind == "shared" and not place.leaving:
            return  # it took whatever came before, and goes on
        if (place.leaving or self._is_worn(place)) and not place.executing and not place.killed:
            place.say_goodbye("retired")
            self._forget(place)
            place.parked.clear()
        self._dispatch()

    def _make_room(self) -> None:
        """Of too many dedicated executors that only park a run, the longest waiting leaves."""
        parked = [
            place
            for place in self._of("dedicated")
            if place.parked and not place.executing and not place.leaving
        ]
        if len(parked) > PARKED_PROCESSES * self._limits.processes:
            place = min(parked, key=lambda each: min(each.parked.values()))
            place.leaving = True
            self._settle(place)

    def _of(self, kind: ExecutorKind) -> Iterator[Place]:
        return (place for place in self.places if place.kind == kind)

    def _executing(self, kind: ExecutorKind) -> int:
        return sum(len(place.executing) for place in self._of(kind))

    @staticmethod
    def _is_worn(place: Place) -> bool:
        """Whether a dedicated executor has done its share, or has grown too much."""
        if place.kind == "shared" or place.parked or place.executing:
            return False
        return place.taken >= REUSES or resident(place.pid) - place.baseline > GROWN_BYTES

    @staticmethod
    def _takes(place: Place) -> bool:
        return place.ready and not (place.leaving or place.stuck)

    @staticmethod
    def _is_free(place: Place) -> bool:
        return not (place.leaving or place.executing or place.parked)

    @staticmethod
    def _counts(place: Place) -> bool:
        """Whether a dedicated executor stands in one of the `processes` places."""
        return bool(place.executing) or not (place.leaving or place.parked)
