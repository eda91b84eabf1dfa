"""One run in an executor: its entries, their delivery and its suspends.

Everything here happens on the executor's event loop. `async_run` and `sync_run` add how the code of
the user runs and how it calls in; `ending` says how it ended.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from outlast.client.errors import api_error
from outlast.protocol.frames import Kind
from outlast.protocol.messages import Call, Called, Claim, Entry, Started, Step, Stepped
from outlast.protocol.outcomes import Outcome
from outlast.sdk.context import Context
from outlast.sdk.errors import MaxDurationExceeded
from outlast.sdk.task import Task
from outlast.worker import ending
from outlast.worker.caller import Caller
from outlast.worker.code import Code
from outlast.worker.delivery import Delivery, Hold
from outlast.worker.hooks import Hands, Stage
from outlast.worker.host import Host
from outlast.worker.journal import Item, Journal
from outlast.worker.pauses import Pauses
from outlast.worker.possessions import Possessions
from outlast.worker.quiescence import EntryFuture, Stillness
from outlast.worker.reports import Reports
from outlast.worker.scopes import Scope
from outlast.worker.sending import Sending
from outlast.worker.settling import Settling
from outlast.worker.slot import Slot, State, kept_for
from outlast.worker.source import RunSource

_stepped = msgspec.msgpack.Decoder(Stepped)
_STARTED = Started()

_OWN = frozenset({"step", "hook"})
"""Kinds of entries that the run makes itself."""

_AT_ONCE = frozenset({"step", "hook", "trigger", "waitpoint", "peek"})
"""Kinds of entries that are finished when they are made: the slot is kept for them."""

_PATIENCE = 60.0
"""Seconds a replay waits for the code to give up a wait as it did before."""


class Run(Caller, Possessions, Code):
    """A run that executes or is parked here."""

    def __init__(self, claim: Claim, token: int, task: Task[Any, Any], host: Host) -> None:
        Possessions.__init__(self, claim)
        self.claim = claim
        self.id = claim.facts.run_id
        self.attempt = claim.facts.attempt_of_run
        self.seed = claim.seed
        self.task = task
        self.cancel_reason = claim.cancel
        self.lost: BaseException | None = None
        """What ends the run whatever its code makes of it: SystemExit, a replay that cannot be."""
        self.overtime: MaxDurationExceeded | None = None
        """Set once the run has worked longer than its `max_duration`."""
        self._host = host
        self._loop = host.loop
        self._thread = threading.get_ident()
        self.journal = Journal(
            self.id,
            self.attempt,
            earlier=claim.facts.earlier_attempts,
            resumed=claim.resume == "cold",
            entries=claim.entries,
            strict=host.strict,
        )
        self._delivery = Delivery(self.journal)
        self.sending = Sending(self.id, token, host.send, self._drop_soon)
        self.settling = Settling(host.loop, self._look, self._settled, self.sending.flush)
        self.threshold = host.threshold
        self.reports = Reports(
            claim,
            self.sending,
            loop=host.loop,
            hand_over=host.hand_over,
            may_say=lambda: self.sending.open or self.state is State.PARKED,
        )
        self._context: Context | None = None
        self.root = Scope()
        self._waiting: set[Item] = set()
        self.steps = 0
        self._held_back = 0
        self._held_since: float | None = None
        self.slot = Slot(self.sending, on_parked=self._parked, on_executing=self._executing)
        self._pauses: Pauses | None = None

    @property
    def context(self) -> Context:
        """What `ctx` is; made for code that reads it."""
        if self._context is None:
            self._context = Context.of(
                self.claim.facts, RunSource(self, self._host.clock), self.task.file
            )
        return self._context

    @property
    def state(self) -> State:
        """Whether the run executes, waits or is over."""
        return self.slot.state

    @property
    def token(self) -> int:
        """The token of the latest claim."""
        return self.sending.token

    @property
    def is_stuck(self) -> bool:
        """Whether the run waits, or has reached an entry that may not begin here any more."""
        return self.state is State.PARKED or (self._held_back > 0 and self.steps == 0)

    def _staged(self, hands: Hands) -> Stage:
        """Return what calls the function, with everything around it."""
        stage = Stage(self, hands, self._host.hooks)
        if stage.minds_waits:
            self._pauses = Pauses(stage, self._errand, self._reported)
        return stage

    # Frames of the server

    def resume(self, token: int, entries: tuple[Entry, ...]) -> None:
        """Go on after a wait: the run has its slot back."""
        for entry in entries:
            if entry.outcome is not None:
                self.resolved(entry.key, entry.outcome)
        self.slot.renew(token)

    def resolved(self, wire: str, outcome: Outcome) -> None:
        """Take the end of an entry."""
        self.slot.changed()
        item = self.journal.find(wire)
        if item is None:
            self.journal.arrived(wire, outcome)
        elif item.outcome is None and not item.abandoned:
            self._finished(item, outcome)
        self.settling.kick()

    def acknowledged(self, token: int, number: int, body: msgspec.Raw) -> None:
        """Take the server's answer to a frame."""
        self.sending.acknowledged(token, number, body)

    def exceed(self, reason: str) -> None:
        """Raise `MaxDurationExceeded` in the code: in a few seconds its process is ended."""
        if self.overtime is None and self.cancel_reason is None and self.state is not State.ENDED:
            self.overtime = MaxDurationExceeded(f"run {self.id} {reason}")
            self.signal.set(reason)
            self._interrupt(self.overtime)

    def _drop_soon(self) -> None:
        self._loop.call_soon(self.drop)

    def drop(self) -> None:
        """Stop without a word: the run is not ours any more."""
        self.end()
        self._abort()

    # What the code asks for

    async def ask_step(self, key: str, arguments: str) -> Outcome | None:
        """Return the recorded end of a local entry; None: it may begin now."""
        item = self.journal.ask(key, arguments)
        if item.made:
            return (await self._wait(item)).outcome
        await self._admit()
        return None

    async def end_step(self, key: str, arguments: str, outcome: Outcome) -> Outcome:
        """Record the end of a local entry; return what the journal holds."""
        item = self.journal.ask(key, arguments)
        item.made = True
        item.number = self._delivery.number()
        self._delivery.due(item)
        self.note(
            Step(
                item.wire, item.kind, item.name, item.number, outcome, item.position, item.content
            ),
            lambda raw: self._stepped(item, raw),
        )
        recorded = (await self._wait(item)).outcome
        assert recorded is not None
        return recorded

    async def call(self, call: Call) -> Item:
        """Make an entry that the server makes, and wait for its end."""
        item = self.journal.ask(call.key, call.arguments)
        if not item.made:
            await self._admit()
            item.made = True
            if not self._host.strict:
                item.keeps_until = self._loop.time() + kept_for(call)
            asked = msgspec.structs.replace(
                call, key=item.wire, position=item.position, arguments=item.content
            )
            self.reports.flush()
            self.sending.put(Kind.CALL, asked, lambda raw: self._called(item, raw))
        return await self._wait(item)

    def note(self, step: Step, answered: Callable[[msgspec.Raw], None] | None = None) -> None:
        """Record a local entry before whatever the run says next."""
        self.reports.flush()
        self.sending.put(Kind.STEP, step, answered)

    async def _wait(self, item: Item) -> Item:
        """Wait for the delivery of an entry. Cancelled, it is given up for this attempt."""
        if self.state is State.ENDED:
            raise self.over()
        item.waiter = waiter = EntryFuture(loop=self._loop)
        self._waiting.add(item)
        if item.outcome is not None and not item.abandoned:
            self._ready(item)
        if item.outcome is None and item.kind in _OWN and len(self._waiting) == 1:
            self.sending.flush()  # until it is recorded nothing can be delivered or given back
        else:
            self.settling.kick()
        try:
            await waiter
        except asyncio.CancelledError:
            if not item.delivered:
                self._abandon(item)
            raise
        finally:
            self._waiting.discard(item)
        return item

    async def _admit(self) -> None:
        """Wait for the slot and for a fresh lease, before anything new starts."""
        if self.state is not State.EXECUTING:
            await self.slot.wait()
            if self.state is State.ENDED:
                raise self.over()
        await self.admit()

    async def admit(self) -> None:
        """Wait for a fresh lease."""
        if not self._host.may_begin():
            self._held_back += 1
            try:
                await self._host.admit()
            finally:
                self._held_back -= 1

    # Results

    def _stepped(self, item: Item, raw: msgspec.Raw) -> None:
        item.outcome = _stepped.decode(raw).outcome
        self.settling.settle()

    def _called(self, item: Item, raw: msgspec.Raw) -> None:
        called = msgspec.msgpack.decode(raw, type=Called)
        item.triggered = called.runs
        if (refusal := called.refusal) is not None:
            # Nothing was created, so nothing is recorded: a replay asks again.
            if item.waits and item.waiter is not None:
                item.waiter.set_exception(
                    api_error(
                        refusal.status, refusal.message, code=refusal.code, param=refusal.param
                    )
                )
        elif called.outcome is not None:
            self._finished(item, called.outcome)
        elif item.kind == "trigger":
            self._finished(item, Outcome(ok=True))
        self.settling.kick()

    def _finished(self, item: Item, outcome: Outcome) -> None:
        if item.outcome is None and not item.abandoned:
            item.outcome = outcome
            if item.waits:
                self._ready(item)

    def _ready(self, item: Item) -> None:
        if self._delivery.asked(item) and item.number is not None:
            self.sending.delivered(item.wire, item.number)

    def _abandon(self, item: Item) -> None:
        if self.state is State.ENDED or self.cancel_reason or self.lost or self.overtime:
            return
        if not item.abandoned:
            item.abandoned = True
            number = self._delivery.number() if item.number is None else None
            self.sending.abandoned(item.wire, number)
        self.journal.settled(item)
        self.slot.wake()
        self.settling.kick()

    def _settled(self, stillness: Stillness) -> None:
        """Deliver the next result, or give the slot back: the code stands still."""
        if self.state is State.EXECUTING:
            self._advance(stillness)
        self.sending.flush()
        if stillness is Stillness.FOREIGN and self._waiting:
            self.settling.again()

    def _advance(self, stillness: Stillness) -> None:
        if self._pauses is not None and self.cancel_reason is None:
            has_result = any(item.outcome is not None for item in self._waiting if item.waits)
            if not self._pauses.may_go_on(has_result=has_result):
                return
        now = self._loop.time()
        found = self._delivery.next(
            may_ask=stillness is Stillness.FOREIGN,
            patient=self._held_since is None or now - self._held_since < _PATIENCE,
        )
        if isinstance(found, Item):
            self._held_since = None
            found.delivered = True
            self.journal.settled(found)
            assert found.waiter is not None
            found.waiter.set_result(None)
            if len(self._waiting) > 1:  # else what comes next is for the code to say
                self.settling.kick()
        elif found is Hold.NOTHING:
            if stillness is Stillness.STILL and not self.steps:
                self._suspend(now)
        else:
            if found is Hold.ABANDONED and self._held_since is None:
                self._held_since = now
            self.settling.again()

    def _suspend(self, now: float) -> None:
        """Give the slot back, when the code waits for nothing but open entries."""
        waiting = [item for item in self._waiting if item.waits and not item.abandoned]
        local = any(item.kind in _AT_ONCE for item in waiting)
        if not waiting or local or any(item.outcome for item in waiting):
            return
        if not self.slot.may_give_back(now) or any(item.keeps_until > now for item in waiting):
            self.settling.again()
            return
        if self._pauses is not None and not self._pauses.may_suspend(waiting):
            return
        self.reports.flush()
        self.slot.give_back(tuple(sorted(item.wire for item in waiting)), now)

    def _parked(self) -> None:
        self.rest()
        if self._pauses is not None:
            self._pauses.parked()
        self._host.parked(self)

    def _executing(self) -> None:
        self.work()
        self.reports.release()
        self.settling.kick()

    def _reported(self) -> None:
        if threading.get_ident() == self._thread:
            self.settling.kick()
        else:
            self._loop.call_soon_threadsafe(self.settling.kick)

    # Its life

    def entered(self) -> None:
        """Say that the function of the user is called now."""
        self.sending.put(Kind.STARTED, _STARTED)
        self.sending.flush()
        self._host.begins()

    def take_payload(self) -> object:
        """Return what the function is called with; the text of it is forgotten to save memory."""
        claim = self.claim
        self.claim = msgspec.structs.replace(claim, payload=None, entries=(), metadata="")
        return self.task.decode_payload(claim.payload, claim.payload_type)

    async def finish(self, result: "ending.Ending") -> None:
        """Say how the run ended, as soon as it may, and forget it."""
        await self.slot.wait()
        if self.state is not State.ENDED:
            self.finish_now(result)

    def finish_now(self, result: "ending.Ending") -> None:
        """Say how the run ended, while it executes, and forget it."""
        self._host.ending(self)
        self.reports.flush()
        self.sending.put(*ending.frame_of(self, result))
        self.sending.flush()
        self.end()

    def echo(self, line: str) -> None:
        """Show a line on the worker's terminal, unless its settings say no."""
        self._host.echo(line)

    def end(self) -> None:
        """Be over here: calls raise, nothing is sent any more."""
        if self.state is not State.ENDED:
            self.slot.end()
            self.settling.close()
            self._host.ended(self)
