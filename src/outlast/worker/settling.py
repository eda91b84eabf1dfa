"""Tells a run when its code stands still, and calls it then."""

import asyncio
from collections.abc import Callable

from outlast.worker.quiescence import Stillness, is_idle

QUIET_TURNS = 4
"""Turns of the loop without a change after which code counts as still, where nobody can tell."""
_BUSY_TURNS = 50
_FIRST_LOOK, _LAST_LOOK = 0.01, 0.5
_STILL, _SETTLED = Stillness.STILL, Stillness.SETTLED


class Settling:
    """Watches one run. `look` says what its code does, `settled` is called when it stands still.

    `passing` is called now and then while the code goes on.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        look: Callable[[], Stillness],
        settled: Callable[[Stillness], None],
        passing: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._look = look
        self._settled = settled
        self._passing = passing
        self._closed = False
        self._scheduled = False
        self._quiet = 0
        self._busy = 0
        self._pause = _FIRST_LOOK
        self._timer: asyncio.TimerHandle | None = None

    def kick(self) -> None:
        """Something changed: see whether the code stands still after it."""
        self._pause = _FIRST_LOOK
        self._busy = 0
        self._quiet = 0
        self._schedule()

    def settle(self) -> None:
        """Something changed: settle at once if the code evidently stands still."""
        if not self._closed and self._look() is _SETTLED:
            self._pause = _FIRST_LOOK
            self._settled(_STILL)
        else:
            self.kick()

    def again(self) -> None:
        """Look again after a while: what is outside the run may have moved it."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._closed:
            self._timer = self._loop.call_later(self._pause, self._schedule)
            self._pause = min(_LAST_LOOK, self._pause * 2)

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self) -> None:
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self._quiet = 0
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self._closed:
            return
        stillness = self._look()
        if stillness is _SETTLED:
            self._busy = 0
            self._settled(_STILL)
            return
        if stillness is not Stillness.BUSY:
            if self._is_confirmed():
                self._busy = 0
                self._settled(stillness)
            return
        self._busy += 1
        if self._busy % QUIET_TURNS == 0:
            self._passing()
        if self._busy < _BUSY_TURNS:
            self._schedule()
        else:
            self.again()

    def _is_confirmed(self) -> bool:
        """Say whether no pending callback can change what was seen; else look next turn."""
        self._quiet += 1
        if is_idle(self._loop) or self._quiet >= QUIET_TURNS:
            return True
        self._scheduled = True
        self._loop.call_soon(self._turn)
        return False
