"""`outlast server` whose database connection, or itself, dies at chosen commits.

`FAILING_PLAN` names the moments as `point:how:count`, separated by spaces: the connection is killed
`before` or `after` the commit of a statement that does what the point says; or the server itself is
`stopped` before it, or `killed` right after it, when nobody is told yet. Each strike is written to
`FAILING_STRUCK`.
"""

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import asyncpg
import msgspec

from outlast.cli.main import main
from outlast.engine import engine as composition
from outlast.engine.database import Database, Executor, translated
from outlast.engine.queries import Statement
from outlast.engine.turn import Telling

Row = TypeVar("Row")
Struct = TypeVar("Struct", bound=msgspec.Struct)
Answer = TypeVar("Answer")

EVERY = 3
"""Only each third time is struck, so that the repetition of what was struck gets through."""


class Plan:
    """What is still to be struck."""

    def __init__(self, text: str, struck: str) -> None:
        self._left: dict[str, tuple[str, int]] = {}
        for word in text.split():
            point, how, count = word.split(":")
            self._left[point] = (how, int(count))
        self._struck = Path(struck)
        self._seen: Counter[str] = Counter()

    def strike(self, points: Sequence[str]) -> str | None:
        """Return how a statement that stands at these points is to be struck, if at all."""
        for point in points:
            self._seen[point] += 1
            how, count = self._left.get(point, ("", 0))
            if count and self._seen[point] % EVERY == 0:
                self._left[point] = (how, count - 1)
                with self._struck.open("a") as file:
                    file.write(f"{point}:{how}\n")
                return how
        return None


def points_of(statement: Statement, values: dict[str, object], rows: object) -> list[str]:
    """Name what a statement did."""
    if statement.name == "journal.write":
        return ["journal"] if values["steps"] else []
    if statement.name == "sessions.take_mail":
        return ["mail"] if rows else []
    if statement.name != "turn.play":
        return []
    told = {row.kind for row in rows if isinstance(row, Telling)} if isinstance(rows, list) else ()
    found = {
        "claims": "claim" in told,
        "results": "result" in told,
        "calls": values["calls"],
        "ends": values["ends"],
        "suspends": values["suspends"],
        "triggers": values["runs"] and not values["calls"],
    }
    return [point for point, is_there in found.items() if is_there]


class FailingExecutor(Executor):
    """Commits what may be struck in a transaction of its own, to stand on either side of it."""

    async def fetch(self, row: type[Row], statement: Statement, **values: object) -> list[Row]:
        return await self._through(
            statement, values, lambda: super(FailingExecutor, self).fetch(row, statement, **values)
        )

    async def fetch_exact(
        self, row: type[Struct], statement: Statement, **values: object
    ) -> list[Struct]:
        return await self._through(
            statement,
            values,
            lambda: super(FailingExecutor, self).fetch_exact(row, statement, **values),
        )

    async def _through(
        self,
        statement: Statement,
        values: dict[str, object],
        run: Callable[[], Awaitable[Answer]],
    ) -> Answer:
        if statement.name not in {"turn.play", "journal.write", "sessions.take_mail"}:
            return await run()
        with translated(statement.name):
            async with self.connection.transaction():
                rows = await run()
                how = PLAN.strike(points_of(statement, values, rows))
                if how == "before":
                    await self._kill_connection()
                if how == "stopped":  # with the lock in its hands
                    os.kill(os.getpid(), signal.SIGSTOP)
            if how == "after":
                await self._kill_connection()
                await self.connection.execute("select 1")  # what a lost answer looks like
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
        return rows

    async def _kill_connection(self) -> None:
        pid = self.connection.get_server_pid()
        killer = await asyncpg.connect(os.environ["OUTLAST_DATABASE_URL"])
        await killer.execute("select pg_terminate_backend($1, 5000)", pid)
        await killer.close()


class FailingDatabase(Database):
    """Lends executors that may fail."""

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Executor]:
        async with super().acquire() as executor:
            yield FailingExecutor(executor.connection)


if __name__ == "__main__":
    PLAN = Plan(os.environ["FAILING_PLAN"], os.environ["FAILING_STRUCK"])
    setattr(composition, "Database", FailingDatabase)  # noqa: B010 - it exports none to assign
    main()
