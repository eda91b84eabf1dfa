"""Put triggers that happen at the same time into the same requests.

While a request is in flight, what comes gathers for the next one; so requests grow with load. A
caller that is canceled only stops waiting, and one bad item costs the others nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Final

from outlast.client.errors import ApiError, OutlastError, TransportError, api_error
from outlast.client.requests import BUDGET
from outlast.client.transport import AsyncTransport
from outlast.client.triggers import MAX_BYTES, MAX_ITEMS, encode, trigger
from outlast.protocol.triggers import Trigger, Triggered

IN_FLIGHT: Final = 4
PATIENCE: Final = 0.02
"""Seconds that gathered items wait for the request in flight before they get their own."""

_DIVIDED: Final = frozenset({400, 413, 422})
"""Answers to a whole request that one bad item can be the reason of."""


class _Item:
    __slots__ = ("answer", "body", "deadline", "task")

    def __init__(
        self, wanted: Trigger, answer: "asyncio.Future[Triggered]", deadline: float
    ) -> None:
        self.task = wanted.task
        self.body = encode(wanted)
        self.answer = answer
        self.deadline = deadline  # by the loop's clock


class Coalescer:
    """Sends the triggers of one event loop to one server under one key."""

    def __init__(
        self,
        transport: AsyncTransport,
        learn: Callable[[str | None], None],
        *,
        budget: float = BUDGET,
    ) -> None:
        """`learn` is told the claims of public tokens, which replies carry."""
        self._learn = learn
        self._budget = budget
        self._waiting: deque[_Item] = deque()  # oldest first, and so first to expire
        self._alarm: asyncio.Handle | None = None
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._gathered: deque[_Item] = deque()
        self._flights: dict[asyncio.Task[None], float] = {}  # task -> when it began
        self._wake: asyncio.Handle | None = None

    async def trigger(self, wanted: Trigger) -> Triggered:
        """Return the answer to a trigger. Raises when the whole request failed."""
        deadline = self._loop.time() + self._budget
        item = _Item(wanted, self._loop.create_future(), deadline)
        self._gathered.append(item)
        self._watch(item)
        if self._wake is None and len(self._flights) < IN_FLIGHT:
            self._schedule()
        return await item.answer

    async def close(self) -> None:
        """Wait until everything that somebody waits for is answered."""
        self._gathered = deque(item for item in self._gathered if not item.answer.done())
        while self._flights or self._gathered:
            if not self._flights:
                self._depart()
            await asyncio.wait(list(self._flights))
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _watch(self, item: _Item) -> None:
        """Keep one alarm for all: a timer per item would cost more than the item."""
        while self._waiting and self._waiting[0].answer.done():
            self._waiting.popleft()
        self._waiting.append(item)
        if self._alarm is None:
            self._alarm = self._loop.call_at(item.deadline, self._expire, context=Context())

    def _expire(self) -> None:
        self._alarm = None
        now = self._loop.time()
        while self._waiting:
            item = self._waiting[0]
            if not item.answer.done():
                if item.deadline > now:
                    self._alarm = self._loop.call_at(item.deadline, self._expire)
                    return
                item.answer.set_exception(
                    TransportError(
                        f"the trigger of {item.task} got no answer in {self._budget:g} s; it may "
                        "have arrived: repeat it with an idempotency key"
                    )
                )
            self._waiting.popleft()

    def _schedule(self) -> None:
        """Plan a departure: after this turn of the loop, or when the flight before takes long.

        The context is empty: a sender must not inherit the run or trace of whoever came first.
        """
        if not self._flights:
            self._wake = self._loop.call_soon(self._depart, context=Context())
        else:
            due = min(self._flights.values()) + PATIENCE
            self._wake = self._loop.call_at(due, self._depart, context=Context())

    def _depart(self) -> None:
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        while self._gathered and len(self._flights) < IN_FLIGHT:
            items = self._take()
            if items:
                flight = self._loop.create_task(
                    self._deliver(items), name="outlast triggers", context=Context()
                )
                self._flights[flight] = self._loop.time()
                flight.add_done_callback(self._landed)

    def _landed(self, flight: "asyncio.Task[None]") -> None:
        del self._flights[flight]
        if not flight.cancelled():
            flight.exception()  # it is in the answers; asyncio need not tell it again
        if self._gathered and not self._loop.is_closed():
            self._depart()

    def _take(self) -> list[_Item]:
        items: list[_Item] = []
        size = 0
        while self._gathered and len(items) < MAX_ITEMS:
            size += len(self._gathered[0].body) + 1
            if items and size > MAX_BYTES:
                break
            item = self._gathered.popleft()
            if not item.answer.done() or item.answer.cancelled():
                items.append(item)
        return items

    async def _deliver(self, items: list[_Item]) -> None:
        budget = max(0.0, min(item.deadline for item in items) - self._loop.time())
        try:
            reply = await self._transport.send(
                trigger([item.body for item in items]), budget=budget
            )
        except ApiError as error:
            if error.status in _DIVIDED and len(items) > 1:
                middle = len(items) // 2
                await self._deliver(items[:middle])
                await self._deliver(items[middle:])
                return
            self._fail(items, error)
        except OutlastError as error:
            self._fail(items, error)
        except BaseException as error:
            cause = TransportError(f"the trigger was given up: {type(error).__name__}")
            self._fail(items, cause)
            raise
        else:
            self._learn(reply.claims)
            for item, answer in zip(items, reply.answers, strict=True):
                if not item.answer.done():
                    item.answer.set_result(answer)

    def _fail(self, items: list[_Item], error: OutlastError) -> None:
        for item in items:
            if not item.answer.done():
                item.answer.set_exception(_copy(error))


def _copy(error: OutlastError) -> OutlastError:
    """Return an error of one caller's own: a traceback must not grow over all of them."""
    if isinstance(error, ApiError):
        return api_error(
            error.status,
            error.message,
            code=error.code,
            param=error.param,
            headers=error.headers,
        )
    return type(error)(*error.args)
