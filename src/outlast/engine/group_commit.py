"""Group commit: what runs write outside the cycle gathers while the last write is in flight."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from outlast.engine.database import Database, Executor
from outlast.engine.errors import EngineError, StatementFailed, Unavailable
from outlast.lifecycle import wound_up

logger = logging.getLogger(__name__)

B = TypeVar("B")
A = TypeVar("A")

Done = Callable[[A | None, EngineError | None], None]
MOST_ORDERS = 1_000
_PAUSE = 0.1


class Order(msgspec.Struct, Generic[B, A], frozen=True):
    """What one run wants written under its lease token, and who hears how it went."""

    run: str
    token: int
    body: B
    done: Done[A]
    size: int = 0

    def answer(self, written: A | None, error: EngineError | None = None) -> None:
        """Tell how it went in a turn of the loop: whoever asked must not hurt the writer."""
        asyncio.get_running_loop().call_soon(self.done, written, error)


class GroupCommit(Generic[B, A]):
    """Writes the orders of all runs, in one portion at a time, however long the database is away.

    `flush` writes a portion, which may be repeated, and returns an answer for each order. A portion
    that PostgreSQL refuses is written in halves until the guilty order stands alone and gets the
    error. `most_bytes`: how much of the orders' `size` one portion holds at most.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        flush: Callable[[Executor, Sequence[Order[B, A]]], Awaitable[list[A | None]]],
        *,
        most_bytes: int | None = None,
    ) -> None:
        self._name = name
        self._database = database
        self._flush = flush
        self._most_bytes = most_bytes
        self._orders: deque[Order[B, A]] = deque()
        self._task: asyncio.Task[None] | None = None

    def write(self, order: Order[B, A]) -> None:
        """Call its `done` when the order is on disk, or with the error that keeps it from there."""
        self._orders.append(order)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=self._name)

    async def close(self, seconds: float) -> None:
        """Write what has gathered and stop, after so many seconds in any case."""
        await wound_up(self._task, seconds=seconds)

    async def _run(self) -> None:
        try:
            while self._orders:
                await self._write(self._portion())
        finally:
            self._task = None

    def _portion(self) -> list[Order[B, A]]:
        portion = [self._orders.popleft()]
        size = portion[0].size
        while self._orders and len(portion) < MOST_ORDERS:
            size += self._orders[0].size
            if self._most_bytes is not None and size > self._most_bytes:
                break
            portion.append(self._orders.popleft())
        return portion

    async def _write(self, orders: list[Order[B, A]]) -> None:
        while True:
            try:
                async with self._database.acquire() as executor:
                    answers = await self._flush(executor, orders)
            except StatementFailed as error:  # BadData, or a defect of ours: find the order
                await self._part(orders, error)
            except Unavailable as error:
                logger.warning("%s repeats", self._name, extra={"why": str(error)})
                await asyncio.sleep(_PAUSE)
                continue
            else:
                for order, answer in zip(orders, answers, strict=True):
                    order.answer(answer)
            return

    async def _part(self, orders: list[Order[B, A]], error: StatementFailed) -> None:
        if len(orders) == 1:
            orders[0].answer(None, error)
            return
        middle = len(orders) // 2
        await self._write(orders[:middle])
        await self._write(orders[middle:])
