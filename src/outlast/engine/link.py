"""The worker link, seen from the engine: frames become items of turns and journal writes.

Frames of one run apply in the order sent. What needs the journal before it (calls, suspends, ends)
waits for the run's journal writes; runs do not wait for each other.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence

import msgspec

from outlast import backoff
from outlast.engine.cycle import Cycle
from outlast.engine.errors import EngineError, Unavailable
from outlast.engine.journal import JournalWriter
from outlast.engine.sessions import Holding, Session, drop
from outlast.engine.turn import (
    Called,
    Ending,
    Gone,
    NewCall,
    NewRun,
    Rescue,
    Start,
    Suspension,
    Telling,
    Wake,
)
from outlast.protocol import frames
from outlast.protocol.frames import Empty, Frame, Kind, frame
from outlast.protocol.ids import Prefix
from outlast.protocol.manifests import RetryPolicy
from outlast.protocol.outcomes import Outcome, RunError
from outlast.protocol.statuses import Status
from outlast.protocol.triggers import Refusal, Trigger, Triggered

logger = logging.getLogger(__name__)
_PAUSE = 0.2

Admit = Callable[[str, Sequence[Trigger]], Awaitable[list[NewRun | Refusal]]]

_JOURNAL_BODIES = {
    Kind.STEP: frames.Step,
    Kind.DELIVERED: frames.Delivered,
    Kind.REPORT: frames.Report,
}
_END_STATUS = {
    "aborted": Status.FAILED,
    "raised": Status.FAILED,
    "payload": Status.FAILED,
    "output": Status.FAILED,
    "crashed": Status.CRASHED,
    "timed_out": Status.TIMED_OUT,
    "canceled": Status.CANCELED,
    "expired": Status.EXPIRED,
    "replay": Status.WAITING,  # parked until a version fits
    "system": Status.SYSTEM_FAILURE,
}
_steps = msgspec.json.Decoder(Outcome)
_triggered = msgspec.json.Decoder(tuple[Triggered, ...])
_policies = msgspec.json.Decoder(RetryPolicy)
_FUNCTIONS = {"child": "triggerAndWait", "batch": "batchTriggerAndWait", "trigger": "trigger"}


class Link:
    """One worker's frames, applied to one environment's cycle."""

    def __init__(
        self,
        session: Session,
        *,
        cycle: Cycle,
        journal: JournalWriter,
        admit: Admit,
        new_id: Callable[[Prefix], str],
    ) -> None:
        self._session = session
        self._cycle = cycle
        self._journal = journal
        self._admit = admit
        self._new_id = new_id
        self._backlogs: dict[str, deque[Frame]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def receive(self, batch: Sequence[Frame]) -> None:
        """Apply frames in order. Garbage costs its own run, nothing else."""
        for item in batch:
            if item.kind == Kind.FREE:
                self._session.set_free(msgspec.msgpack.decode(item.body, type=frames.Free).free)
                self._cycle.wake()
            elif item.kind == Kind.CRASH:
                self._spawn(self._after_crash(msgspec.msgpack.decode(item.body, type=frames.Crash)))
            elif item.run in self._backlogs:
                self._backlogs[item.run].append(item)
            else:
                self._apply(item)

    async def settle(self) -> None:
        """Wait until everything received is applied."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _apply(self, item: Frame) -> None:
        """Apply one frame, or begin a backlog of its run when it has to wait for something."""
        try:
            waits = self._start(item)
        except (msgspec.DecodeError, msgspec.ValidationError, ValueError) as error:
            self._broken(item, error)
            return
        if waits is not None:
            self._backlogs[item.run] = deque()
            self._spawn(self._follow(item, waits))

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, item: Frame, waits: Awaitable[None]) -> None:
        """Wait, then go on with what the run sent meanwhile."""
        backlog = self._backlogs[item.run]
        try:
            await waits
            while backlog:
                item = backlog.popleft()
                again = self._start(item)
                if again is not None:
                    await again
        except (EngineError, msgspec.DecodeError, msgspec.ValidationError, ValueError) as error:
            backlog.clear()
            self._broken(item, error)
        finally:
            del self._backlogs[item.run]

    def _start(self, item: Frame) -> Awaitable[None] | None:
        """Begin to apply a frame; return what the run's next frame has to wait for."""
        kind = Kind(item.kind)
        if kind in _JOURNAL_BODIES:
            return self._write(item, kind)
        if kind is Kind.CALL:
            return self._call(item)
        match kind:
            case Kind.STARTED:
                self._cycle.submit(Start(run=item.run, token=item.token))
                self._acknowledge(item, Empty())
            case Kind.SUSPEND:
                self._suspend(item)
            case Kind.COMPLETE | Kind.FAIL:
                self._end(item, kind)
            case Kind.WAKE:
                self._cycle.submit(Wake(run=item.run, token=item.token))
                self._acknowledge(item, Empty())
            case Kind.GONE:
                self._session.release(item.run, item.token)
                self._cycle.submit(Gone(run=item.run, token=item.token))
                self._acknowledge(item, Empty())
            case _:
                raise ValueError(f"a worker does not send {kind.name}")
        return None

    def _acknowledge(self, item: Frame, body: msgspec.Struct) -> None:
        answer = frame(Kind.ACK, body, run=item.run, token=item.token, number=item.number)
        self._session.deliver([answer])

    # ── journal ───────────────────────────────────────────────────────────────────────────────

    def _write(self, item: Frame, kind: Kind) -> Awaitable[None]:
        body = msgspec.msgpack.decode(item.body, type=_JOURNAL_BODIES[kind])
        written = self._journal.write(item.run, item.token, body)
        return self._after_write(item, kind, written)

    async def _after_write(
        self, item: Frame, kind: Kind, written: "asyncio.Future[str | None]"
    ) -> None:
        recorded = await written
        if kind is not Kind.STEP:
            self._acknowledge(item, Empty())
        elif recorded is None:
            self._session.release(item.run, item.token)
            self._session.deliver([drop(item.run, item.token)])
        else:
            self._acknowledge(item, frames.Stepped(_steps.decode(recorded)))

    # ── the cycle ─────────────────────────────────────────────────────────────────────────────

    def _suspend(self, item: Frame) -> None:
        keys = msgspec.msgpack.decode(item.body, type=frames.Suspend).keys

        def answer(tellings: list[Telling], error: EngineError | None) -> None:
            if error is not None or not tellings:
                return
            is_held = tellings[0].data == "true"
            if is_held and item.run in self._session.executing:
                self._session.park(item.run, item.token)
                self._cycle.wake()
            self._acknowledge(item, frames.Suspended(is_held))

        self._cycle.submit(Suspension(run=item.run, token=item.token, keys=keys), answer)

    def _end(self, item: Frame, kind: Kind) -> None:
        ending = _ending(item, kind)
        self._session.release(item.run, item.token)

        def answer(_: list[Telling], error: EngineError | None) -> None:
            if error is None:
                self._acknowledge(item, Empty())

        self._cycle.submit(ending, answer)

    async def _call(self, item: Frame) -> None:
        call = msgspec.msgpack.decode(item.body, type=frames.Call)
        holding = self._session.executing.get(item.run)
        if holding is None or holding.token != item.token:
            # It may have been parked in between: the call precedes its own suspend.
            self._session.deliver([drop(item.run, item.token)])
            return
        admitted = await self._admitted(call.items)
        called = self._called(item, call, admitted, holding)

        def answer(tellings: list[Telling], error: EngineError | None) -> None:
            if error is not None:
                self._broken(item, error)
                return
            if not tellings or tellings[0].kind == "stale":
                self._session.release(item.run, item.token)
                self._session.deliver([drop(item.run, item.token)])
                return
            self._acknowledge(item, frames.Called(runs=_triggered.decode(tellings[0].data or "[]")))

        self._cycle.submit(called, answer)

    async def _admitted(self, items: Sequence[Trigger]) -> list[NewRun | Refusal]:
        """Check the runs of a call, however long the database is away: the task waits for them."""
        while True:
            try:
                return await self._admit(self._session.place.environment, items)
            except Unavailable as error:
                logger.warning("admission repeats", extra={"why": str(error)})
                await asyncio.sleep(_PAUSE)

    def _called(
        self,
        item: Frame,
        call: frames.Call,
        admitted: Sequence[NewRun | Refusal],
        holding: Holding,
    ) -> Called:
        batch = self._new_id("batch") if call.kind == "batch" else None
        refusals = {str(i): r for i, r in enumerate(admitted) if isinstance(r, Refusal)}
        runs = tuple(
            msgspec.structs.replace(
                run,
                item=i,
                parent=item.run,
                root=holding.root or item.run,
                depth=holding.depth + 1,
                batch=batch,
                trigger_function=_FUNCTIONS[call.kind],
            )
            for i, run in enumerate(admitted)
            if isinstance(run, NewRun)
        )
        outcome = None
        if call.kind == "child" and refusals:
            error = RunError(kind="raised", type="TriggerRefused", message=refusals["0"].message)
            outcome = msgspec.json.encode(Outcome(False, error=error, task=call.name)).decode()
        made = NewCall(
            run=item.run,
            token=item.token,
            key=call.key,
            kind=call.kind,
            name=call.items[0].task if call.items else call.name,
            attempt=holding.attempt,
            position=call.position,
            arguments=call.arguments,
            preview=call.preview,
            seconds=call.seconds,
            until=call.until,
            timeout=call.timeout,
            batch=batch,
            size=len(call.items),
            outcome=outcome,
            refusals=msgspec.json.encode(refusals).decode(),
        )
        return Called(call=made, runs=runs)

    # ── loss ──────────────────────────────────────────────────────────────────────────────────

    async def _after_crash(self, crash: frames.Crash) -> None:
        """Apply what the executor's runs had sent before it died, then the death."""
        runs = {held.run for held in (*crash.runs, *crash.parked)}
        while runs & self._backlogs.keys():
            others = self._tasks - {asyncio.current_task()}
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        self._crash(crash)

    def _crash(self, crash: frames.Crash) -> None:
        """Take in that an executor died: its guilty run fails its attempt, others are rescued.

        When nobody knows which run it was, all of them are suspects and run alone for a while.
        """
        for held in crash.parked:
            self._session.release(held.run, held.token)
            self._cycle.submit(Gone(run=held.run, token=held.token))
        crash_id = secrets.token_hex(8) if crash.guilty is None else None
        for held in crash.runs:
            holding = self._session.executing.get(held.run)
            self._session.release(held.run, held.token)
            if held.run == crash.guilty:
                self._blame(held, crash.error, holding)
            else:
                rescue = Rescue(run=held.run, token=held.token, suspect=crash_id)
                self._cycle.submit(rescue)

    def _blame(self, held: frames.Held, error: RunError, holding: Holding | None) -> None:
        """Fail the attempt of the run that took its process along; its policy says what follows."""
        pause = None
        if holding is not None:
            pause = backoff.delay(_policies.decode(holding.retry), holding.attempt)
        self._cycle.submit(
            Ending(
                run=held.run,
                token=held.token,
                status="crashed" if pause is None else "retrying",
                error=msgspec.json.encode(error).decode(),
                retry_in=pause,
            )
        )

    def _broken(self, item: Frame, error: Exception) -> None:
        """End the run of a frame that cannot be read or stored: going on would get it stuck."""
        logger.error("frame refused", extra={"run": item.run, "why": str(error)})
        name = Kind(item.kind).name if item.kind in Kind._value2member_map_ else str(item.kind)
        reason = RunError(
            kind="system", type="BadFrame", message=f"{name} could not be applied: {error}"
        )
        self._session.release(item.run, item.token)
        self._cycle.submit(
            Ending(
                run=item.run,
                token=item.token,
                status="system_failure",
                error=msgspec.json.encode(reason).decode(),
            )
        )
        self._session.deliver([drop(item.run, item.token)])


def _ending(item: Frame, kind: Kind) -> Ending:
    if kind is Kind.COMPLETE:
        complete = msgspec.msgpack.decode(item.body, type=frames.Complete)
        return Ending(run=item.run, token=item.token, status="completed", output=complete.output)
    fail = msgspec.msgpack.decode(item.body, type=frames.Fail)
    again = fail.retry_in is not None
    return Ending(
        run=item.run,
        token=item.token,
        status="retrying" if again else _END_STATUS[fail.error.kind].value,
        error=msgspec.json.encode(fail.error).decode(),
        retry_in=fail.retry_in,
        forget=getattr(fail, "forgotten", ()),
    )
