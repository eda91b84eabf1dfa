"""How the code of a run is begun, watched and stopped: what each kind of run adds."""

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any

from outlast.sdk.errors import MaxDurationExceeded
from outlast.worker.quiescence import Stillness


class Code(ABC):
    """The code of a run's user: on the loop for `async def`, on the main thread for `def`."""

    @abstractmethod
    def start(self) -> None:
        """Begin to execute the function of the user."""

    @abstractmethod
    def cancel(self, reason: str) -> None:
        """Unwind the code."""

    @abstractmethod
    def _interrupt(self, error: MaxDurationExceeded) -> None:
        """Raise the error in the code, as soon as that can be."""

    @abstractmethod
    def _errand(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something where the code runs, which waits."""

    @abstractmethod
    def _look(self) -> Stillness:
        """Return what the code is doing."""

    @abstractmethod
    def _abort(self) -> None:
        """Stop the code without a word."""
