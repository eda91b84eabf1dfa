"""What a run needs of the executor that it lives in."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from outlast.protocol.frames import Frame
from outlast.sdk.hooks import Hooks
from outlast.worker.threads import Threads

if TYPE_CHECKING:
    from outlast.worker.run import Run


class Host(Protocol):
    """The executor, as its runs need it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the executor."""

    @property
    def hooks(self) -> Hooks:
        """The hooks of every task."""

    @property
    def clock(self) -> Callable[[], float]:
        """What tells the time of `ctx.now()`, in seconds since the epoch."""

    @property
    def strict(self) -> bool:
        """Whether a replay with other arguments is an error, not a warning."""

    @property
    def threads(self) -> Threads:
        """The threads for the plain functions of steps."""

    def send(self, frame: Frame) -> None:
        """Send a frame to the supervisor."""

    def begins(self) -> None:
        """Let it be known that a run begins, before its code can end the process."""

    def hand_over(self, frame: Frame) -> None:
        """Give a frame to the system before returning. From any thread."""

    @property
    def threshold(self) -> int:
        """The least severity that `logger` says."""

    def echo(self, line: str) -> None:
        """Show a line on the worker's terminal, unless its settings say no."""

    def ending(self, run: "Run") -> None:
        """Take what the run began to print, before it says how it ended."""

    def may_begin(self) -> bool:
        """Say whether something new may start now."""

    async def admit(self) -> None:
        """Wait until the lease is fresh: before that nothing new may start."""

    def retire(self, reason: str) -> None:
        """Ask to be replaced, and to end once every run has reached an entry."""

    def parked(self, run: "Run") -> None:
        """Take note that the run gave its slot back."""

    def ended(self, run: "Run") -> None:
        """Forget the run."""
