"""What a run needs of the executor that it lives in."""

import asyncio
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
    def strict(self) -> bool:
        """Whether a replay with other arguments is an error, not a warning."""

    @property
    def threads(self) -> Threads:
        """The threads for the plain functions of steps."""

    def send(self, frame: Frame) -> None:
        """Send a frame to the supervisor."""

    def may_begin(self) -> bool:
        """Say whether something new may start now."""

    async def admit(self) -> None:
        """Wait until the lease is fresh: before that nothing new may start."""

    def parked(self, run: "Run") -> None:
        """Take note that the run gave its slot back."""

    def ended(self, run: "Run") -> None:
        """Forget the run."""
