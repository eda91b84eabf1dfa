"""Routes frames of runs between a link and the executors, and knows which run is where.

It reads frame headers, and bodies only where a run changes hands: a claim's `resume` and
`executor`, the answer to a suspend, the end of a run for the line in the terminal.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from outlast.protocol.frames import MAX_FRAME_BYTES, Frame, Kind, frame
from outlast.protocol.machines import PRESETS, Machine
from outlast.protocol.manifests import ExecutorKind
from outlast.protocol.messages import (
    Beat,
    Crash,
    Drop,
    Empty,
    Fail,
    Goodbye,
    Held,
    Suspended,
)
from outlast.protocol.outcomes import RunError
from outlast.worker.ceilings import Ceilings, too_large
from outlast.worker.cgroups import Groups
from outlast.worker.events import ExecutorDied, RunLeft, RunStarted, WorkerEvent, ended
from outlast.worker.holdings import Holding, Holdings, peeks
from outlast.worker.lines import Gathering
from outlast.worker.link import Link
from outlast.worker.place import Place
from outlast.worker.pool import Limits, Pool
from outlast.worker.prefetch import PATIENCE
from outlast.worker.processes import Launch, death, describe_exit

_STUCK = 1.0
"""Seconds after which an executor that does not begin a claim is taken for blocked."""
_FRESH_BEAT = 3.0  # seconds for which a beat is still passed on to a new executor
_CRASH_GRACE = 1.0  # seconds from an executor's last words to its end
_MOST_BODY = MAX_FRAME_BYTES - 64 * 1024  # what one message holds, with room for its header
# Plain numbers: these are compared with every frame.
_CLAIM, _ACK, _STARTED = map(int, (Kind.CLAIM, Kind.ACK, Kind.STARTED))
_SUSPEND, _LINE = map(int, (Kind.SUSPEND, Kind.LINE))
_LAST = frozenset({Kind.COMPLETE, Kind.FAIL, Kind.RESTART, Kind.GONE})
_MOST_UNSENT = 64 * 1024 * 1024  # bytes that executors may run ahead of the servers


class Router:
    """The runs of one session: from the link to their executors and back."""

    def __init__(
        self,
        link: Link,
        launch: Callable[[ExecutorKind], Launch],
        limits: Limits,
        *,
        on_event: Callable[[WorkerEvent], None],
        on_ready: Callable[[], None],
        on_capacity: Callable[[], None],
        machines: Mapping[str, Machine] = PRESETS,
        secrets: Sequence[str] = (),
        groups: Groups | None = None,
    ) -> None:
        self._link = link
        self.lines = Gathering(link.send, secrets)
        self._on_event = on_event
        self._on_ready = on_ready
        self._beaten_at = float("-inf")
        self._beat = frame(Kind.BEAT, Beat())
        self._paused = False
        self._draining = False
        self._watching: asyncio.TimerHandle | None = None
        self.holdings = Holdings()
        self._ceilings = Ceilings(machines, self._blame)
        self.pool = Pool(
            launch,
            limits,
            on_frames=self._from_executor,
            on_exit=self._executor_ended,
            assign=self._assign,
            forget=self._forget_parked,
            on_capacity=on_capacity,
            groups=groups,
        )

    def receive(self, frames: Sequence[Frame]) -> None:
        """Route what a server says about runs."""
        for each in frames:
            if each.kind == _ACK:
                self._acknowledged(each)
            elif each.kind == _CLAIM:
                self._claim(each)
            elif each.kind == Kind.DROP:
                self._dropped(each)
            else:
                self._forward(each)

    def beat(self) -> None:
        """Pass a fresh lease on to the executors."""
        self._beaten_at = time.monotonic()
        for place in self.pool.places:
            if place.ready:
                place.send(self._beat)

    def lend(self, api_url: str, access: str) -> None:
        """Give runs a token for the API; they get it with the next beat."""
        self._beat = frame(Kind.BEAT, Beat(access=access, api_url=api_url))

    def say_goodbye(self, reason: str) -> None:
        """Take nothing new; every executor ends when its runs have reached an entry."""
        self._draining = True
        for run in self.pool.waiting():
            if (holding := self.holdings.get(run)) is not None:
                self._hand_back(holding)
        self.pool.say_goodbye(reason)

    def tend(self) -> None:
        """Do what only time brings about. Call every second."""
        now = time.monotonic()
        stuck: set[Place] = set()
        for holding in self.holdings:
            if holding.claim is None or holding.parked or holding.warm or holding.place is None:
                continue
            if now - holding.claimed_at > _STUCK and now - self._beaten_at < _FRESH_BEAT:
                stuck.add(holding.place)
        self.pool.avoid(stuck)
        self.pool.retire_overdue()
        self._ceilings.tend(self.holdings)
        if self._paused and self._link.outbox.size < _MOST_UNSENT // 2:
            self._paused = False
            for place in self.pool.places:
                place.read()

    def _hand_back_unplaced(self, now: float) -> None:
        """Give back claims that found no executor; those taken ahead may be another worker's."""
        waiting = [each for each in self.holdings if each.place is None]
        late = [
            each for each in waiting if now - each.claimed_at > self.pool.patience(each.executor)
        ]
        if any(each.executor == "dedicated" for each in late):
            self.pool.stop_prefetching()  # first, so that they are not claimed for us again
        for holding in late:
            self._hand_back(holding)

    def _place(self, holding: Holding) -> None:
        """Find an executor for a run, now or as soon as there is one."""
        self.pool.place(holding.run, holding.executor)
        self._watch()

    def _watch(self) -> None:
        """Look at what waits for a process now and then; most of it does so for a moment."""
        if self._watching is None and self.pool.waits:
            self._watching = asyncio.get_running_loop().call_later(PATIENCE, self._look)

    def _look(self) -> None:
        self._watching = None
        self._hand_back_unplaced(time.monotonic())
        self._watch()

    # From the server

    def _claim(self, claim: Frame) -> None:
        holding = self.holdings.get(claim.run)
        if holding is not None and holding.token >= claim.token:
            return  # pushed twice
        peek = peeks.decode(claim.body)
        warm = peek.resume == "warm"
        if warm and not self._draining and holding is not None and self._is_parked(holding):
            assert holding.place is not None
            holding.renew(claim, peek.spent)
            self.pool.resume(claim.run, holding.place)
            holding.place.send(claim)
            return
        if holding is not None:
            self._drop(holding, holding.drop_frame())
        if warm or self._draining:
            self._link.send([frame(Kind.GONE, Empty(), run=claim.run, token=claim.token, number=1)])
            return
        holding = Holding.of(claim, peek)
        self.holdings.add(holding)
        self._place(holding)

    def _is_parked(self, holding: Holding) -> bool:
        """Say whether a run is parked, also when the answer to its suspend was lost on the way."""
        if holding.parked or holding.place is None:
            return holding.parked
        last = self._link.outbox.last(holding.run, holding.token)
        if last is None or last.kind != Kind.SUSPEND:
            return False
        self._acknowledged(
            frame(Kind.ACK, Suspended(True), run=last.run, token=last.token, number=last.number)
        )
        self._link.outbox.forget(last.run, last.token)
        return holding.parked

    def _acknowledged(self, ack: Frame) -> None:
        sent = self._link.outbox.acknowledge(ack.run, ack.token, ack.number)
        holding = self.holdings.exactly(ack.run, ack.token)
        if sent is None or holding is None or holding.place is None:
            return
        if sent.kind in _LAST:
            self.holdings.remove(holding.run)
            self._tell_end(holding, sent)
            return
        if ack.number > 0 and sent.kind != _STARTED and not holding.over:  # number 0: of lines
            holding.place.send(ack)
        if sent.kind == _SUSPEND and msgspec.msgpack.decode(ack.body, type=Suspended).held:
            holding.parked = True
            self.pool.park(holding.run, holding.place)

    def _dropped(self, message: Frame) -> None:
        holding = self.holdings.get(message.run)
        if holding is not None and holding.token <= message.token:
            reason = msgspec.msgpack.decode(message.body, type=Drop).reason
            if reason:
                self._on_event(RunLeft(holding.run, holding.task, reason))
            self._drop(holding, message)

    def _drop(self, holding: Holding, message: Frame) -> None:
        """Stop a run that belongs to somebody else."""
        self.holdings.remove(holding.run)
        self._link.outbox.forget(holding.run, holding.token)
        if not holding.over:
            self._stop(holding, message)

    def _stop(self, holding: Holding, message: Frame) -> None:
        if holding.place is None:
            self.pool.withdraw(holding.run)
            return
        holding.place.send(message)
        if holding.place.kind == "dedicated":
            holding.place.kill()
        self.pool.release(holding.run, holding.place)

    def _forward(self, message: Frame) -> None:
        holding = self.holdings.exactly(message.run, message.token)
        if holding is None or holding.over:
            return
        if holding.place is None:
            holding.backlog.append(message)
        else:
            holding.place.send(message)

    # From the executors and the pool

    def _from_executor(self, place: Place, frames: list[Frame]) -> None:
        ours: list[Frame] = []
        for each in frames:
            if each.kind >= _CLAIM and each.kind != _LINE:
                self._hear(place, each)
                continue
            holding = self.holdings.exactly(each.run, each.token)
            if holding is None or holding.place is not place:
                continue  # the run was dropped meanwhile
            if each.kind == _LINE:
                self.lines.add(each.run, each.token, each.body)
                continue
            ours += self.lines.take(each.run, each.token)
            holding.claim = None
            holding.number = max(holding.number, each.number)
            if len(each.body) > _MOST_BODY:
                ours.append(self._refuse(holding, each))
                continue
            ours.append(each)
            if each.kind == _STARTED:
                self._on_event(RunStarted(holding.run, holding.task))
            elif each.kind in _LAST:
                self._is_over(holding, place)
        self._link.send(ours)
        if not self._paused and self._link.outbox.size > _MOST_UNSENT:
            self._paused = True
            for each_place in self.pool.places:
                each_place.wait()

    def _is_over(self, holding: Holding, place: Place) -> None:
        """Give the place of a run to the next: its end is kept here until it is on disk."""
        holding.over = True
        self.pool.release(holding.run, place, took=time.monotonic() - holding.claimed_at)

    def _hear(self, place: Place, message: Frame) -> None:
        """Take what an executor says about itself."""
        if message.kind == Kind.READY:
            if time.monotonic() - self._beaten_at < _FRESH_BEAT:
                place.send(self._beat)
            self._on_ready()
        elif message.kind == Kind.CRASH:
            place.blame = msgspec.msgpack.decode(message.body, type=Crash)
            asyncio.get_running_loop().call_later(_CRASH_GRACE, place.end)
        elif message.kind == Kind.GOODBYE:
            reason = msgspec.msgpack.decode(message.body, type=Goodbye).reason
            self.pool.retire(place, reason)

    def _refuse(self, holding: Holding, message: Frame) -> Frame:
        """End a run that says more than fits on the link, which would break it for all others."""
        self.holdings.remove(holding.run)
        self._stop(holding, holding.drop_frame())
        end = Fail(too_large(len(message.body)))
        return frame(Kind.FAIL, end, run=message.run, token=message.token, number=message.number)

    def _assign(self, run: str, place: Place) -> None:
        holding = self.holdings.get(run)
        if holding is None or holding.claim is None:
            self.pool.release(run, place)
            return
        holding.place = place
        holding.claimed_at = time.monotonic()
        self._ceilings.begin(holding, place)
        place.send(holding.claim, *holding.backlog)
        holding.backlog.clear()

    def _forget_parked(self, place: Place) -> None:
        """Forget the parked runs of a place that leaves: the next claim finds them gone."""
        for holding in self.holdings.of(place):
            if holding.parked:
                self.holdings.remove(holding.run)

    def _executor_ended(self, place: Place, code: int) -> None:
        held = self.holdings.of(place)
        for holding in held:  # what they said last, before what becomes of them
            self._link.send(self.lines.take(holding.run, holding.token))
        executing = [holding for holding in held if not holding.parked]
        parked = [holding for holding in held if holding.parked]
        self._ceilings.explain(place, executing)
        asked = place.blame is None and (place.leaving or place.killed)
        if place.kind == "dedicated" and not asked:  # which says that a run begins before it does
            spared = [each for each in executing if each.claim is not None and not each.moved]
            executing = [each for each in executing if each not in spared]
            for holding in spared:
                self._move(holding)
        if asked or not (executing or code):
            # Asked to end, or a `def` run that waited long enough. What still executes goes back.
            for holding in executing:
                self._hand_back(holding)
            for holding in parked:
                self.holdings.remove(holding.run)
            return
        if code == 0 and all(holding.claim is not None for holding in executing):
            # It was on its way out when the claim arrived.
            for holding in parked:
                self.holdings.remove(holding.run)
            for holding in executing:
                self._move(holding)
            return
        self._report_crash(place, code, executing, parked)

    def _move(self, holding: Holding) -> None:
        if holding.moved or holding.warm:
            self._hand_back(holding)
            return
        holding.moved = True
        holding.place = None
        holding.claimed_at = time.monotonic()
        self._place(holding)

    def _report_crash(
        self, place: Place, code: int, executing: list[Holding], parked: list[Holding]
    ) -> None:
        how = describe_exit(code)
        if place.blame is not None:
            guilty, error = place.blame.guilty, place.blame.error
        else:
            guilty = executing[0].run if place.kind == "dedicated" and executing else None
            error = death(code)
        if executing or parked:
            runs = tuple(Held(holding.run, holding.token) for holding in executing)
            asleep = tuple(Held(holding.run, holding.token) for holding in parked)
            self._link.tell_crash(Crash(runs, guilty, error, asleep))
        for holding in (*executing, *parked):
            self.holdings.remove(holding.run)
        told = how if place.blame is None else place.blame.error.message
        self._on_event(ExecutorDied(place.pid, told, tuple(each.run for each in executing)))

    def _blame(self, holding: Holding, error: RunError) -> None:
        """End the process of a run that is guilty of it; nobody else pays for that."""
        if holding.place is not None:
            holding.place.blame = Crash((), holding.run, error)
            holding.place.end()

    def _hand_back(self, holding: Holding) -> None:
        """Give a run that does not execute here any more to whoever is next."""
        self.holdings.remove(holding.run)
        if holding.place is None:
            self.pool.withdraw(holding.run)
        else:
            self.pool.release(holding.run, holding.place)
        gone = frame(
            Kind.GONE, Empty(), run=holding.run, token=holding.token, number=holding.number + 1
        )
        self._link.send([gone])

    def _tell_end(self, holding: Holding, sent: Frame) -> None:
        seconds = time.monotonic() - holding.first_at
        if (event := ended(sent, holding.task, holding.attempt, seconds)) is not None:
            self._on_event(event)
