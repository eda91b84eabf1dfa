"""What a run has besides its journal: local values, late work, its signal, its active time."""

import concurrent.futures
import time
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any

from outlast.protocol.messages import Claim
from outlast.sdk.hooks import Hook, Hooks
from outlast.sdk.signals import CancelSignal


class Possessions:
    """The part of a run that outlives no process."""

    def __init__(self, claim: Claim) -> None:
        self.local_values: dict[object, Any] = {}
        self.kept: list[Awaitable[object] | concurrent.futures.Future[Any]] = []
        """What the run waits for after everything else."""
        self._registered = Hooks("run")
        self._before = claim.spent, claim.earlier
        self._worked = 0.0
        self._works_since: float | None = time.monotonic()

    @cached_property
    def signal(self) -> CancelSignal:
        """Set when the run is to stop."""
        return CancelSignal()

    @property
    def cancel_hooks(self) -> tuple[Hook, ...]:
        """What the function wants to happen after a cancel."""
        return self._registered.of("on_cancel")

    def on_cancel(self, function: Callable[..., Any]) -> None:
        """Register what is to happen after a cancel."""
        self._registered.add("on_cancel", function)

    def keep(self, work: Awaitable[object] | concurrent.futures.Future[Any]) -> None:
        """Wait for something after everything else."""
        self.kept.append(work)

    def active_seconds(self) -> tuple[float, float]:
        """Return for how long this attempt, and all of them, have worked."""
        since = self._works_since
        now = self._worked + (time.monotonic() - since if since is not None else 0.0)
        spent, earlier = self._before
        return spent + now, earlier + spent + now

    def rest(self) -> None:
        """Stop the clock of the active time."""
        if self._works_since is not None:
            self._worked += time.monotonic() - self._works_since
            self._works_since = None

    def work(self) -> None:
        """Go on with it."""
        if self._works_since is None:
            self._works_since = time.monotonic()
