"""The worker link, seen from the engine: frames become items of turns and journal writes.

Frames of one run apply in the order sent. What needs the journal before it (calls, suspends, ends)
waits for the run's journal writes; runs do not wait for each other.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from outlast.engine.calls import make_call, refusal_of
from outlast.engine.cycle import Cycle
from outlast.engine.endings import blamed, ended_by_us, failed, unfit
from outlast.engine.errors import EngineError, InvalidRequest, NotFound, Unavailable
from outlast.engine.journal import JournalWriter
from outlast.engine.sessions import Session, drop
from outlast.engine.streams import Streams
from outlast.engine.turn import (
    Ending,
    GivenUp,
    Gone,
    NewRun,
    Rescue,
    Restarting,
    Start,
    Suspension,
    Telling,
    Wake,
)
from outlast.engine.waitpoints import Waitpoints
from outlast.protocol import messages
from outlast.protocol.frames import EMPTY, Frame, Kind, body
from outlast.protocol.ids import Prefix
from outlast.protocol.outcomes import Outcome, RunError
from outlast.protocol.streams import Append, Appended
from outlast.protocol.triggers import Refusal, Trigger, Triggered

logger = logging.getLogger(__name__)
_PAUSE = 0.2
T = TypeVar("T")

Admit = Callable[[str, Sequence[Trigger]], Awaitable[list[NewRun | Refusal]]]
Restart = Callable[[str, messages.Held, str | None], Awaitable[Restarting | Refusal]]

_Written = messages.Step | messages.Delivered | messages.Report
_JOURNAL_BODIES: dict[int, msgspec.msgpack.Decoder[_Written]] = {
    Kind.STEP: msgspec.msgpack.Decoder(messages.Step),
    Kind.DELIVERED: msgspec.msgpack.Decoder(messages.Delivered),
    Kind.REPORT: msgspec.msgpack.Decoder(messages.Report),
}
_completes = msgspec.msgpack.Decoder(messages.Complete)
_restarts = msgspec.msgpack.Decoder(messages.Restart)
_triggered = msgspec.json.Decoder(tuple[Triggered, ...])
_appends = msgspec.msgpack.Decoder(Append)
_capacities = msgspec.msgpack.Decoder(messages.Capacity)


class Link:
    """One worker's frames, applied to one environment's cycle."""

    def __init__(
        self,
        session: Session,
        *,
        cycle: Cycle,
        journal: JournalWriter,
        admit: Admit,
        restart: Restart,
        new_id: Callable[[Prefix], str],
        waitpoints: Waitpoints,
        streams: Streams,
    ) -> None:
        self._session = session
        self._cycle = cycle
        self._journal = journal
        self._admit = admit
        self._restart = restart
        self._new_id = new_id
        self._waitpoints = waitpoints
        self._streams = streams
        self._backlogs: dict[str, deque[Frame]] = {}  # of runs whose next frames have to wait
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._handlers: dict[int, Callable[[Frame], bool]] = {
            Kind.STARTED: self._started,
            Kind.STEP: self._write,
            Kind.DELIVERED: self._write,
            Kind.REPORT: self._write,
            Kind.APPEND: self._append,
            Kind.CALL: self._call,
            Kind.SUSPEND: self._suspend,
            Kind.COMPLETE: self._complete,
            Kind.FAIL: self._fail,
            Kind.RESTART: self._begin_again,
            Kind.WAKE: self._wake,
            Kind.GONE: self._gone,
        }

    def receive(self, batch: Sequence[Frame]) -> None:
        """Apply frames in order. Garbage costs its own run, nothing else."""
        for item in batch:
            if item.kind == Kind.CAPACITY:
                self._session.set_capacity(_capacities.decode(item.body).capacity)
                self._cycle.wake()
            elif item.kind == Kind.CRASH:
                self._spawn(
                    self._after_crash(msgspec.msgpack.decode(item.body, type=messages.Crash))
                )
            elif item.run in self._backlogs:
                self._backlogs[item.run].append(item)
            else:
                self._apply(item)

    async def settle(self) -> None:
        """Wait until everything received is applied."""
        while self._tasks or self._backlogs:
            await self._change()

    def _apply(self, item: Frame) -> bool:
        """Apply one frame; True when the run's next frames have to wait until it `_goes_on`."""
        try:
            waits = self._handlers.get(item.kind, _unknown)(item)
        except (msgspec.DecodeError, msgspec.ValidationError, ValueError) as error:
            self._broken(item, error)
            return False
        if waits and item.run not in self._backlogs:
            self._backlogs[item.run] = deque()
        return waits

    def _go_on(self, run: str) -> None:
        """Apply what a run sent meanwhile, up to the next frame that has to be waited for."""
        while backlog := self._backlogs[run]:
            if self._apply(backlog.popleft()):
                return
        del self._backlogs[run]
        self._changed.set()

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()

    async def _change(self) -> None:
        """Wait until a run has no backlog any more, or a task has ended."""
        self._changed.clear()
        await self._changed.wait()

    def _started(self, item: Frame) -> bool:
        return self._note(item, Start(run=item.run, token=item.token))

    def _wake(self, item: Frame) -> bool:
        return self._note(item, Wake(run=item.run, token=item.token))

    def _gone(self, item: Frame) -> bool:
        self._session.release(item.run, item.token)
        return self._note(item, Gone(run=item.run, token=item.token))

    def _note(self, item: Frame, noted: Start | Wake | Gone) -> bool:
        """Pass on what nobody waits to hear about."""
        self._cycle.submit(noted)
        self._acknowledge(item, EMPTY, patient=True)
        return False

    def _acknowledge(self, item: Frame, body: msgspec.Raw, *, patient: bool = False) -> None:
        """Answer a frame; a patient answer, for which no code waits, travels with others."""
        answer = Frame(Kind.ACK, item.run, item.token, item.number, body)
        if patient:
            self._session.deliver_soon(answer)
        else:
            self._session.deliver([answer])

    # ── journal ───────────────────────────────────────────────────────────────────────────────

    def _write(self, item: Frame) -> bool:
        written = _JOURNAL_BODIES[item.kind].decode(item.body)
        if isinstance(written, messages.Report) and written.refresh:
            done = partial(self._refresh, item)
        elif isinstance(written, messages.Delivered) and written.abandoned:
            done = partial(self._gave_up, item, written.abandoned)
        else:
            done = partial(self._written, item)
        self._journal.write(item.run, item.token, written, done)
        return True

    def _refresh(self, item: Frame, _: Outcome | None, error: EngineError | None) -> None:
        """Answer a report that asks for the metadata of now."""
        if error is not None:
            self._written(item, None, error)
        else:
            self._spawn(self._answer_refresh(item))

    async def _answer_refresh(self, item: Frame) -> None:
        metadata = await self._journal.metadata(item.run)
        self._acknowledge(item, body(messages.Reported(metadata)))
        self._go_on(item.run)

    def _written(self, item: Frame, recorded: Outcome | None, error: EngineError | None) -> None:
        """Answer a frame that is on disk, and go on with what the run sent meanwhile."""
        if error is not None:
            self._broken(item, error)
        elif item.kind != Kind.STEP:
            self._acknowledge(item, EMPTY)
        elif recorded is None:
            self._session.release(item.run, item.token)
            self._session.deliver([drop(item.run, item.token)])
        else:
            self._acknowledge(item, body(messages.Stepped(recorded)))
        self._go_on(item.run)

    def _gave_up(
        self, item: Frame, keys: tuple[str, ...], _: Outcome | None, error: EngineError | None
    ) -> None:
        """Hand on the messages that waits had received when the code gave them up."""
        waits = tuple(key for key in keys if "stream:" in key)  # a key tells its kind
        if error is not None or not waits:
            self._written(item, None, error)
            return

        def answer(_: list[Telling], error: EngineError | None) -> None:
            if error is None:
                self._acknowledge(item, EMPTY)

        self._cycle.submit(GivenUp(run=item.run, token=item.token, keys=waits), answer)
        self._go_on(item.run)

    def _append(self, item: Frame) -> bool:
        def done(appended: Appended | None, error: EngineError | None) -> None:
            if error is not None or appended is None:
                self._broken(item, error or ValueError("the chunks have no answer"))
            else:
                self._acknowledge(item, body(appended))
            self._go_on(item.run)

        self._streams.write(item.run, item.token, _appends.decode(item.body), done)
        return True

    # ── the cycle ─────────────────────────────────────────────────────────────────────────────

    def _suspend(self, item: Frame) -> bool:
        keys = msgspec.msgpack.decode(item.body, type=messages.Suspend).keys

        def answer(tellings: list[Telling], error: EngineError | None) -> None:
            if error is not None or not tellings:
                return
            is_held = tellings[0].data == "true"
            if is_held and item.run in self._session.executing:
                self._session.park(item.run, item.token)
                self._cycle.wake()
            self._acknowledge(item, body(messages.Suspended(is_held)))

        self._cycle.submit(Suspension(run=item.run, token=item.token, keys=keys), answer)
        return False

    def _complete(self, item: Frame) -> bool:
        out = _completes.decode(item.body).output
        end = Ending(run=item.run, token=item.token, status="completed", output=out)
        return self._end(item, end)

    def _fail(self, item: Frame) -> bool:
        return self._end(item, failed(item))

    def _begin_again(self, item: Frame) -> bool:
        payload = _restarts.decode(item.body).payload
        self._spawn(self._admit_restart(item, payload))
        return True

    async def _admit_restart(self, item: Frame, payload: str | None) -> None:
        environment, held = self._session.place.environment, messages.Held(item.run, item.token)
        try:
            wanted = await self._patiently(lambda: self._restart(environment, held, payload))
            self._end(item, unfit(item, wanted) if isinstance(wanted, Refusal) else wanted)
        except (EngineError, ValueError) as error:
            self._broken(item, error)
        finally:
            self._go_on(item.run)

    def _end(self, item: Frame, ending: Ending | Restarting) -> bool:
        self._session.release(item.run, item.token)

        def answer(_: list[Telling], error: EngineError | None) -> None:
            if error is None:
                self._acknowledge(item, EMPTY, patient=True)
            elif not isinstance(error, Unavailable):
                self._broken(item, error)

        self._cycle.submit(ending, answer)
        return False

    def _call(self, item: Frame) -> bool:
        call = msgspec.msgpack.decode(item.body, type=messages.Call)
        self._spawn(self._admit_call(item, call))
        return True

    async def _admit_call(self, item: Frame, call: messages.Call) -> None:
        try:
            await self._make_call(item, call)
        except (EngineError, ValueError) as error:
            self._broken(item, error)
        finally:
            self._go_on(item.run)

    async def _make_call(self, item: Frame, call: messages.Call) -> None:
        environment = self._session.place.environment
        holding = self._session.executing.get(item.run)
        if holding is None or holding.token != item.token:
            self._session.deliver([drop(item.run, item.token)])
            return
        admitted = await self._patiently(lambda: self._admit(environment, call.items))
        try:
            outcome = await self._patiently(
                lambda: self._waitpoints.prepare(environment, item.run, call)
            )
        except (InvalidRequest, NotFound) as error:
            self._acknowledge(item, body(messages.Called(refusal=refusal_of(error))))
            return
        called = make_call(item, call, admitted, holding, new_id=self._new_id, outcome=outcome)
        shown: Outcome | None = None
        if outcome is not None:
            made_outcome = outcome
            shown = await self._patiently(
                lambda: self._waitpoints.reveal(self._session.place, made_outcome)
            )

        def answer(tellings: list[Telling], error: EngineError | None) -> None:
            if error is not None:
                self._broken(item, error)
                return
            if not tellings or tellings[0].kind == "stale":
                self._session.release(item.run, item.token)
                self._session.deliver([drop(item.run, item.token)])
                return
            made = _triggered.decode(tellings[0].data or "[]")
            self._acknowledge(item, body(messages.Called(runs=made, outcome=shown)))

        self._cycle.submit(called, answer)

    async def _patiently(self, prepare: Callable[[], Awaitable[T]]) -> T:
        """Prepare a call, however long the database is away: the task waits for it."""
        while True:
            try:
                return await prepare()
            except Unavailable as error:
                logger.warning("a call's preparation repeats", extra={"why": str(error)})
                await asyncio.sleep(_PAUSE)

    # ── loss ──────────────────────────────────────────────────────────────────────────────────

    async def _after_crash(self, crash: messages.Crash) -> None:
        """Apply what the executor's runs had sent before it died, then the death."""
        runs = {held.run for held in (*crash.runs, *crash.parked)}
        while runs & self._backlogs.keys():
            await self._change()
        self._crash(crash)

    def _crash(self, crash: messages.Crash) -> None:
        """Fail the guilty run's attempt, rescue the others; nobody known: all are suspects."""
        for held in crash.parked:
            self._session.release(held.run, held.token)
            self._cycle.submit(Gone(run=held.run, token=held.token))
        crash_id = secrets.token_hex(8) if crash.guilty is None else None
        for held in crash.runs:
            holding = self._session.executing.get(held.run)
            self._session.release(held.run, held.token)
            if held.run == crash.guilty:
                self._cycle.submit(blamed(held, crash.error, holding))
            else:
                rescue = Rescue(run=held.run, token=held.token, suspect=crash_id)
                self._cycle.submit(rescue)

    def _broken(self, item: Frame, error: Exception) -> None:
        """End the run of a frame that cannot be read or stored: going on would get it stuck."""
        logger.error("frame refused", extra={"run": item.run, "why": str(error)})
        if item.run in self._backlogs:
            self._backlogs[item.run].clear()
        name = Kind(item.kind).name if item.kind in Kind._value2member_map_ else str(item.kind)
        reason = RunError(
            kind="system", type="BadFrame", message=f"{name} could not be applied: {error}"
        )
        self._session.release(item.run, item.token)
        self._cycle.submit(ended_by_us(item, reason))
        self._session.deliver([drop(item.run, item.token, reason.message)])


def _unknown(item: Frame) -> bool:
    raise ValueError(f"a worker does not send frames of kind {item.kind}")
