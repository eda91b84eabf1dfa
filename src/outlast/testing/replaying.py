"""The replay of a recorded journal against code: it passes, or shows where the code differs."""

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any

import msgspec

from outlast.protocol.frames import Frame, Kind, frame
from outlast.protocol.messages import Beat, Claim, Complete, Empty, Fail, Step, Suspend, Suspended
from outlast.protocol.statuses import FINAL
from outlast.sdk.registry import Registry, registry
from outlast.sdk.task import Task
from outlast.testing.clock import Clock
from outlast.testing.journals import Journal
from outlast.testing.mortal import MortalRun, mortality
from outlast.testing.stillness import PATIENCE
from outlast.testing.worker import MortalExecutor, Wire

_PAUSE = 0.002
_LOOKS = 5
"""How often in a row the code is seen at the same place before it is taken to stay there."""


class ReplayDifference(AssertionError):  # noqa: N818 - what it is: the code and the journal differ
    """The code does not do what the journal tells; a run that is under way could not go on."""


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """Where a replay ended: with an output, at entries still open, or at a call that is new."""

    output: object = None
    has_ended: bool = False
    waits_for: tuple[str, ...] = ()
    goes_on_with: str | None = None


async def replay(journal: Journal, *, against: Task[Any, Any]) -> Replayed:
    """Call a task with the recorded answers, as a worker that resumes the run does.

    Nothing is triggered, waited for or recorded, and no step is executed: at the first call that
    the journal does not hold the replay ends. Raises `ReplayDifference` when the code makes other
    calls than the recorded ones, leaves some out, or adds some to a run that had ended.
    """
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        if not getattr(loop.get_task_factory(), "outlast", False):
            stack.enter_context(mortality(loop))
        playing = _Playing(journal, against, loop)
        try:
            await asyncio.wait_for(playing.done.wait(), PATIENCE)
        except TimeoutError:
            raise ReplayDifference(
                f"the code of {against.id} neither ended nor waited within {PATIENCE:.0f} s: it "
                f"stands at {playing.where()}\n{playing.told()}"
            ) from None
        finally:
            playing.close()
        return playing.verdict()


class _Executor(MortalExecutor):
    """An executor where nothing begins but the function itself."""

    entered = False
    begun: MortalRun | None = None

    def begin(self, claim: Claim, token: int, task: Task[Any, Any]) -> MortalRun:
        """Return what plays the run."""
        self.begun = super().begin(claim, token, task)
        return self.begun

    def send(self, frame: Frame) -> None:
        """Send a frame to the server."""
        self.entered = self.entered or frame.kind == Kind.STARTED
        super().send(frame)

    def may_begin(self) -> bool:
        """Say whether something new may begin."""
        return not self.entered


class _Playing:
    """One replay: the executor's server is this."""

    def __init__(
        self, journal: Journal, task: Task[Any, Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.done = asyncio.Event()
        self._journal = journal
        self._task = task
        self._loop = loop
        self._end: Complete | Fail | None = None
        self._parked: tuple[str, ...] = ()
        self._new: str | None = None
        self._quiet = 0
        known = Registry()
        facts = journal.claim.facts
        known.tasks = {facts.task: task}
        known.hooks = registry.hooks
        self._wire = Wire(loop)
        clock = Clock()
        self._executor = _Executor(known, self._wire, loop, clock)
        self._wire.up = self._receive
        self._wire.down = self._executor.receive
        claim = msgspec.structs.replace(journal.claim, resume="cold", cancel=None)
        self._executor.receive(
            [frame(Kind.BEAT, Beat()), frame(Kind.CLAIM, claim, run=facts.run_id, token=1)]
        )
        self._watch()

    def close(self) -> None:
        """End it all; nothing of the code unwinds."""
        self.done.set()
        self._executor.die()
        self._wire.cut()

    def verdict(self) -> Replayed:
        """Return where it ended. Raises `ReplayDifference`."""
        if isinstance(self._end, Fail) and self._end.error.kind == "replay":
            raise ReplayDifference(f"{self._end.error.message}\n{self.told()}")
        left = self._unasked()
        has_ended = self._journal.status in FINAL
        if self._new is not None and (has_ended or left):
            before = " before " + ", ".join(left) if left else ", which the recorded run never did"
            raise ReplayDifference(f"the code asks for {self._new}{before}\n{self.told()}")
        if isinstance(self._end, Fail) and self._journal.error is None:
            error = self._end.error
            raise ReplayDifference(
                f"the code fails with {error.type}: {error.message} at {error.line}\n{self.told()}"
            )
        if left:
            raise ReplayDifference(f"the code never asks for {', '.join(left)}\n{self.told()}")
        if self._new is None and self._end is None and has_ended:
            raise ReplayDifference(f"the code waits, the recorded run had ended\n{self.told()}")
        if isinstance(self._end, Complete):
            return Replayed(output=json.loads(self._end.output or "null"), has_ended=True)
        if isinstance(self._end, Fail):
            return Replayed(has_ended=True)
        return Replayed(waits_for=self._parked, goes_on_with=self._new)

    def where(self) -> str:
        """Return the line that the code stands at."""
        return self._executor.begun.where() if self._executor.begun is not None else "nowhere"

    def told(self) -> str:
        """Return the journal, for people."""
        lines = self._journal.lines() or ["nothing"]
        return "recorded:\n" + "\n".join(f"  {line}" for line in lines)

    def _unasked(self) -> list[str]:
        """Return the entries of the last attempt that the code has not asked for."""
        claim, run = self._journal.claim, self._executor.begun
        asked = {item.wire for item in run.journal.items.values()} if run is not None else set()
        return [
            entry.key
            for entry in claim.entries
            if entry.attempt == claim.facts.attempt_of_run
            and entry.key not in asked
            and entry.kind != "hook"
            and not entry.abandoned
        ]

    def _receive(self, frames: list[Frame]) -> None:
        for each in frames:
            self._hear(each)
            if each.kind != Kind.LINE:
                body = Suspended(held=True) if each.kind == Kind.SUSPEND else Empty()
                ack = frame(Kind.ACK, body, run=each.run, token=each.token, number=each.number)
                self._wire.deliver([ack])

    def _hear(self, each: Frame) -> None:
        match each.kind:
            case Kind.STEP:
                self._new = self._new or msgspec.msgpack.decode(each.body, type=Step).key
            case Kind.SUSPEND:
                self._parked = msgspec.msgpack.decode(each.body, type=Suspend).keys
            case Kind.COMPLETE:
                self._end = msgspec.msgpack.decode(each.body, type=Complete)
            case Kind.RESTART:
                self._new = self._new or "Restart"
            case Kind.FAIL:
                self._end = msgspec.msgpack.decode(each.body, type=Fail)
            case _:
                return
        self.done.set()

    def _watch(self) -> None:
        """See whether the code stands at something new, and stays there."""
        run = self._executor.begun
        new = run.held_back() if run is not None else None
        self._quiet = self._quiet + 1 if new is not None and not self._wire.busy else 0
        if self._quiet >= _LOOKS:
            self._new = self._new or new
            self.done.set()
        if not self.done.is_set():
            self._loop.call_later(_PAUSE, self._watch)
