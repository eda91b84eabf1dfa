"""The cycles of one server: one per active environment."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from outlast.engine.cycle import Cycle
from outlast.engine.database import Database
from outlast.engine.turn import Item
from outlast.engine.workers import Workers

MOST_TURNS_IN_FLIGHT = 8


class Cycles:
    """Finds or begins the cycle of an environment."""

    def __init__(
        self,
        database: Database,
        *,
        server: str,
        clock: Callable[[], datetime | None] | None,
        left_work: Callable[[str], None],
    ) -> None:
        self._database = database
        self._server = server
        self._clock = clock or _no_clock
        self._left_work = left_work
        self._turns = asyncio.Semaphore(MOST_TURNS_IN_FLIGHT)
        self._cycles: dict[str, Cycle] = {}
        self.workers: Workers | None = None
        """Set by the engine once both exist: workers submit items, cycles tell workers."""

    def of(self, environment: str) -> Cycle:
        """Return an environment's cycle."""
        cycle = self._cycles.get(environment)
        if cycle is None:
            assert self.workers is not None
            cycle = self._cycles[environment] = Cycle(
                environment,
                database=self._database,
                workers=self.workers,
                server=self._server,
                turns=self._turns,
                clock=self._clock,
                left_work=self._left_work,
            )
        return cycle

    def environments(self) -> list[str]:
        """Return the environments that this server has played turns of."""
        return list(self._cycles)

    def submit(self, environment: str, item: Item) -> None:
        """Put an item that nobody waits for into the environment's next turn."""
        self.of(environment).submit(item)

    def wake(self, environment: str) -> None:
        """Play a turn of the environment now: something it depends on has changed."""
        self.of(environment).wake()

    async def close(self, seconds: float) -> None:
        """Stop after the turns in flight, and after so many seconds in any case."""
        await asyncio.gather(*(cycle.close(seconds) for cycle in self._cycles.values()))


def _no_clock() -> None:
    return None
