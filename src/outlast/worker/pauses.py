"""`on_wait` before a run gives its slot back, `on_resume` before its code goes on."""

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from outlast.sdk.hooks import WaitInfo
from outlast.worker.hooks import Stage
from outlast.worker.journal import Item

logger = logging.getLogger("outlast.worker")


class Pauses:
    """The waits of one run. `errand` runs a coroutine where the code of the user runs.

    `done` is called after each: what was held back may be looked at again.
    """

    def __init__(
        self,
        stage: Stage,
        errand: Callable[[Coroutine[Any, Any, None]], None],
        done: Callable[[], None],
    ) -> None:
        self._stage = stage
        self._errand = errand
        self._done = done
        self._waits_for: WaitInfo | None = None
        self._was_parked = False
        self._is_busy = False

    def parked(self) -> None:
        """Take note that the slot was given back."""
        self._was_parked = True

    def may_suspend(self, waiting: Sequence[Item]) -> bool:
        """Say whether the slot may go; before that the hooks are called."""
        if self._waits_for is None:
            first = min(waiting, key=lambda item: item.wire)
            names = tuple(sorted(item.name for item in waiting))
            self._waits_for = WaitInfo(first.kind, names)
            self._call(self._stage.pause(self._waits_for))
            return False
        return True

    def may_go_on(self, *, has_result: bool) -> bool:
        """Say whether results may reach the code; after a wait the hooks are called first."""
        if self._is_busy:
            return False
        if self._waits_for is None or not (self._was_parked or has_result):
            return True
        waited, self._waits_for, self._was_parked = self._waits_for, None, False
        self._call(self._stage.go_on(waited))
        return False

    def _call(self, hooks: Coroutine[Any, Any, None]) -> None:
        self._is_busy = True
        self._errand(self._called(hooks))

    async def _called(self, hooks: Coroutine[Any, Any, None]) -> None:
        try:
            await hooks
        finally:
            self._is_busy = False
            self._done()
