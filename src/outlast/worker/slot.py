"""Whether a run has a slot: it gives it back when it waits, and asks for it when it goes on."""

import asyncio
import time
from collections.abc import Callable
from enum import Enum

import msgspec

from outlast.protocol.frames import Kind
from outlast.protocol.messages import Call, Empty, Suspend, Suspended
from outlast.worker.sending import Sending

_REPEAT = 1.0
"""Seconds until a suspend that was refused is tried again; a result should have come by then."""


_SHORT_WAIT = 5.0
"""Seconds; a wait of at most this length is not worth the way out and back in."""


class State(Enum):
    """What a run may do."""

    EXECUTING = "executing"
    SUSPENDING = "suspending"  # the answer to its suspend is on the way
    PARKED = "parked"
    WAKING = "waking"  # parked, and wants to go on
    ENDED = "ended"


_SUSPENDING, _PARKED = State.SUSPENDING, State.PARKED


def kept_for(call: Call) -> float:
    """Return for how many seconds a run keeps its slot for a call; 0: it gives it back at once.

    After them, with some patience for the result, it gives its slot back all the same.
    """
    if call.kind != "wait":
        return 0.0
    length = call.until - time.time() if call.until is not None else call.seconds or 0.0
    return max(0.0, length) + _REPEAT if length <= _SHORT_WAIT else 0.0


class Slot:
    """The slot of one run. `on_parked` and `on_executing` follow its changes."""

    def __init__(
        self,
        sending: Sending,
        *,
        on_parked: Callable[[], None],
        on_executing: Callable[[], None],
    ) -> None:
        self.state = State.EXECUTING
        self._sending = sending
        self._on_parked = on_parked
        self._on_executing = on_executing
        self._wanted = False
        self._refused_at: float | None = None
        self._decided: asyncio.Event | None = None

    @property
    def rests(self) -> bool:
        """Whether the slot is given back, or about to be."""
        # asked at every turn of every task; a set would hash the member in Python
        return self.state is _SUSPENDING or self.state is _PARKED

    async def wait(self) -> None:
        """Return when the run executes or has ended; ask for its slot back if need be."""
        while self.state not in (State.EXECUTING, State.ENDED):
            self.wake()
            if self._decided is None:
                self._decided = asyncio.Event()
            await self._decided.wait()

    def may_give_back(self, now: float) -> bool:
        """Say whether a suspend is worth trying: not right after one was refused."""
        return self._refused_at is None or now >= self._refused_at + _REPEAT

    def give_back(self, keys: tuple[str, ...], now: float) -> None:
        """Suspend until one of the entries is finished. Nothing is sent before the answer."""
        self.state = State.SUSPENDING
        self._sending.put(Kind.SUSPEND, Suspend(keys), lambda raw: self._answered(raw, now))
        self._sending.flush()
        self._sending.open = False

    def renew(self, token: int) -> None:
        """Take the slot back under a new token."""
        self._sending.renew(token)
        self._execute()

    def changed(self) -> None:
        """Forget a refusal: a result has come."""
        self._refused_at = None

    def wake(self) -> None:
        """Ask for the slot back: the code goes on by itself."""
        self._wanted = self.state is not State.EXECUTING
        if self.state is State.PARKED:
            self.state = State.WAKING
            self._sending.now(Kind.WAKE, Empty())

    def end(self) -> None:
        """Give everything up."""
        self.state = State.ENDED
        self._sending.close()
        self._decide()

    def _answered(self, raw: msgspec.Raw, asked_at: float) -> None:
        if self.state is not State.SUSPENDING:
            return
        if not msgspec.msgpack.decode(raw, type=Suspended).held:
            self._refused_at = asked_at
            self._sending.open = True
            self._execute()
            return
        self.state = State.PARKED
        if self._wanted or self._sending.waiting:
            self.wake()
        else:
            self._on_parked()

    def _execute(self) -> None:
        self.state = State.EXECUTING
        self._wanted = False
        self._decide()
        self._on_executing()

    def _decide(self) -> None:
        if self._decided is not None:
            self._decided.set()
            self._decided = None
