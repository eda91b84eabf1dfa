"""The cycle of one environment on one server: gather, play a turn, answer; and again.

No timer paces it: an idle environment plays its turn at once, a busy one gathers while a turn is in
flight, so batches grow with load. The environment's row lock makes it single-writer across servers.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Protocol

import msgspec

from outlast.engine.database import Database
from outlast.engine.errors import (
    ConnectionLost,
    EngineError,
    Overloaded,
    StatementFailed,
    Unavailable,
)
from outlast.engine.turn import MISSED, Called, Ending, Item, NewRun, Pool, Telling, Told, play
from outlast.lifecycle import wound_up

logger = logging.getLogger(__name__)

MOST_PER_TURN = 500
MOST_WAITING = 10_000
_IDLE_SECONDS = 60.0
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0


class Workers(Protocol):
    """What a cycle knows of the workers connected to this server."""

    def pools(self, environment: str) -> tuple[list[Pool], list[str]]:
        """Return free slots by pool, and the sessions that may park runs."""

    def reserve(self, tellings: Sequence[Telling]) -> None:
        """Count what a committed turn claimed, before the next one asks what is free."""

    async def tell(self, environment: str, told: Told) -> None:
        """Hear what a committed turn told, in order."""


class Asked(msgspec.Struct):
    """An item with what to call once its turn is committed (tellings or an error)."""

    item: Item
    answer: Callable[[list[Telling], EngineError | None], None] | None


class Cycle:
    """One environment's loop. Create it once per environment and server; it sleeps when idle."""

    def __init__(
        self,
        environment: str,
        *,
        database: Database,
        workers: Workers,
        server: str,
        turns: asyncio.Semaphore,
        clock: Callable[[], datetime | None],
        left_work: Callable[[str], None],
    ) -> None:
        self.environment = environment
        self._database = database
        self._workers = workers
        self._server = server
        self._turns = turns
        self._clock = clock
        self._left_work = left_work
        self._asked: deque[Asked] = deque()
        self._woken = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._told: asyncio.Queue[Told | None] = asyncio.Queue()
        self._laps: list[asyncio.Future[None]] = []
        self._teller: asyncio.Task[None] | None = None
        self._due: float | None = None  # loop time of the next timer
        self._closed = False
        self._has_room = False
        self._moment = 0.0  # when the last turn was played
        self._in_doubt = False  # a turn may have committed without our hearing what it told
        self.left = 0  # queued runs after the last turn

    def submit(
        self,
        item: Item,
        answer: Callable[[list[Telling], EngineError | None], None] | None = None,
    ) -> None:
        """Put an item into the next turn. Raises `Overloaded` past 10,000 waiting callers."""
        if len(self._asked) >= MOST_WAITING and isinstance(item, NewRun):
            raise Overloaded(f"{len(self._asked)} requests wait in {self.environment}; slow down")
        self._asked.append(Asked(item, answer))
        self.wake()

    async def ask(self, item: Item) -> list[Telling]:
        """Put an item into the next turn and return what the turn told about it."""
        future: asyncio.Future[list[Telling]] = asyncio.get_running_loop().create_future()

        def answer(tellings: list[Telling], error: EngineError | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(tellings)

        self.submit(item, answer)
        return await future

    async def ask_all(self, items: Sequence[Item]) -> list[list[Telling] | EngineError]:
        """Put items into the next turn; return what it told about each, or why it did not."""
        answers: list[list[Telling] | EngineError] = [[] for _ in items]
        left = len(items)
        all_there: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def answer(index: int, tellings: list[Telling], error: EngineError | None) -> None:
            nonlocal left
            answers[index] = tellings if error is None else error
            left -= 1
            if not left and not all_there.done():
                all_there.set_result(None)

        for index, item in enumerate(items):
            try:
                self.submit(item, partial(answer, index))
            except Overloaded as error:
                answer(index, [], error)
        if items:
            await all_there
        return answers

    def wake(self) -> None:
        """Play a turn now: work came from outside, or may have."""
        self._woken.set()
        if self._loop is None and not self._closed:
            self._loop = asyncio.create_task(self._run(), name=f"cycle {self.environment}")
            self._teller = asyncio.create_task(self._tell(), name=f"teller {self.environment}")

    async def settle(self) -> None:
        """Play a turn with all that has gathered; return once the workers were told of it."""
        lap: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._laps.append(lap)
        self.wake()
        await lap
        await self._told.join()

    async def close(self, seconds: float) -> None:
        """Stop after the turn in flight; what has gathered is answered with `Unavailable`.

        After so many seconds it stops in any case: what is committed and untold is told by the
        server that the workers connect to next.
        """
        self._closed = True
        self._woken.set()
        await wound_up(self._loop, self._teller, seconds=seconds)
        while self._asked:
            _answer(self._asked.popleft(), [], Unavailable("the server is stopping; try another"))

    async def _run(self) -> None:
        try:
            while not self._closed and await self._wait():
                self._woken.clear()
                await self._turn()
        except Exception:
            logger.exception("cycle failed", extra={"environment": self.environment})
        finally:
            self._loop = None
            self._told.put_nowait(None)
            if (self._asked or self._woken.is_set()) and not self._closed:
                self.wake()

    async def _wait(self) -> bool:
        """Wait for work or the next timer; False: nothing for a while, the loop may end."""
        if self._woken.is_set() or self._asked:
            return True
        now = asyncio.get_running_loop().time()
        timeout = _IDLE_SECONDS if self._due is None else max(0.0, self._due - now)
        try:
            async with asyncio.timeout(timeout):
                await self._woken.wait()
        except TimeoutError:
            return self._due is not None
        return True

    async def _turn(self) -> None:
        laps, self._laps = self._laps, []
        batch = [self._asked.popleft() for _ in range(min(MOST_PER_TURN, len(self._asked)))]
        if self._asked:
            self._woken.set()
        try:
            await self._play(batch)
        finally:
            for lap in laps:
                if not lap.done():
                    lap.set_result(None)

    async def _play(self, batch: list[Asked]) -> None:
        """Play a batch to its end: again after a lost connection, in halves around bad data."""
        pause = _FIRST_PAUSE
        is_repeated = False
        while True:
            try:
                tellings = await self._play_once([asked.item for asked in batch])
            except StatementFailed as error:  # BadData, or a defect of ours: find the item
                await self._part(batch, error)
                return
            except Unavailable as error:
                self._in_doubt |= isinstance(error, ConnectionLost)
                if self._closed:
                    for asked in batch:
                        _answer(asked, [], error)
                    return
                logger.warning("turn repeats", extra={"why": str(error)})
                is_repeated = True
                batch = [Asked(_repeated(asked.item), asked.answer) for asked in batch]
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                # What a repeated turn claims, an earlier try may have made, at another moment.
                made = {} if is_repeated else _made([asked.item for asked in batch])
                self._spread(batch, tellings, made)
                return

    async def _play_once(self, items: Sequence[Item]) -> list[Telling]:
        async with self._turns, self._database.acquire() as executor:
            pools, homes = self._workers.pools(self.environment)
            self._has_room = bool(pools)
            return await play(
                executor,
                self.environment,
                items,
                pools=pools,
                homes=homes,
                server=self._server,
                clock=self._clock(),
            )

    async def _part(self, batch: list[Asked], error: StatementFailed) -> None:
        """Find the guilty item: its caller gets the error, its run fails, all others commit."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._play(batch[:middle])
            await self._play(batch[middle:])
            return
        if not batch:
            logger.error("turn fails without an item", extra={"why": str(error)})
            await asyncio.sleep(_LONGEST_PAUSE)
            return
        guilty = batch[0]
        logger.error("item refused", extra={"why": str(error), "item": type(guilty.item).__name__})
        if isinstance(guilty.item, Ending) and guilty.item.status != "system_failure":
            await self._play([Asked(_as_failure(guilty.item, error), guilty.answer)])
        elif isinstance(guilty.item, Called) and guilty.item.runs:
            await self._play([Asked(_as_refused(guilty.item, error), guilty.answer)])
        else:
            _answer(guilty, [], error)

    def _spread(self, batch: list[Asked], tellings: list[Telling], made: dict[str, NewRun]) -> None:
        self._due = None
        self.left = 0
        self._moment = 0.0
        mine: dict[int, list[Telling]] = {}
        others: list[Telling] = []
        for telling in tellings:
            if telling.kind in ("created", "called", "stale", "held"):
                mine.setdefault(telling.n, []).append(telling)
            elif not self._heed(telling):
                others.append(telling)
        for n, asked in enumerate(batch):
            _answer(asked, mine.get(n, []), None)
        if self._in_doubt:
            self._in_doubt = False
            others.append(MISSED)
        if others:
            self._workers.reserve(others)
            self._told.put_nowait(Told(others, made, self._moment))
        if self.left and not self._has_room:  # nobody here can take it: somebody elsewhere may
            self._left_work(self.environment)

    def _heed(self, telling: Telling) -> bool:
        """Take what a turn tells the cycle itself; False: it is for the workers."""
        if telling.kind == "due":
            seconds = max(0.0, float(telling.data or 0))
            self._due = asyncio.get_running_loop().time() + seconds
        elif telling.kind == "left":
            self.left = int(telling.data or 0)
        elif telling.kind == "more":
            self._woken.set()
        elif telling.kind == "moment":
            self._moment = float(telling.data or 0)
        else:
            return False
        return True

    async def _tell(self) -> None:
        """Tell the workers what turns decided, in order, while the next turn is played."""
        while (told := await self._told.get()) is not None:
            try:
                await self._workers.tell(self.environment, told)
            except Exception:
                logger.exception("telling failed", extra={"environment": self.environment})
            self._told.task_done()
        self._told.task_done()


def _answer(asked: Asked, tellings: list[Telling], error: EngineError | None) -> None:
    if asked.answer is not None:
        asked.answer(tellings, error)


def _made(items: Sequence[Item]) -> dict[str, NewRun]:
    """Return the runs that a turn was to make, by id."""
    runs = {item.run: item for item in items if isinstance(item, NewRun)}
    for item in items:
        if isinstance(item, Called):
            runs.update({run.run: run for run in item.runs})
    return runs


def _repeated(item: Item) -> Item:
    """Mark what an unknown commit may have created, so that it is found and not made again."""
    if isinstance(item, NewRun):
        return msgspec.structs.replace(item, retried=True)
    return item


def _as_failure(ending: Ending, error: StatementFailed) -> Ending:
    reason = {"kind": "system", "type": "BadData", "message": f"could not be stored: {error}"}
    return Ending(
        run=ending.run,
        token=ending.token,
        status="system_failure",
        error=msgspec.json.encode(reason).decode(),
    )


def _as_refused(called: Called, error: StatementFailed) -> Called:
    reason = {"kind": "raised", "type": "TriggerRefused", "message": str(error)}
    outcome = msgspec.json.encode({"ok": False, "error": reason}).decode()
    return Called(call=msgspec.structs.replace(called.call, outcome=outcome, size=0))
