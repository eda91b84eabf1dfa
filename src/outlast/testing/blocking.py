"""The platform for `def` tests: its loop turns in a thread, its calls block."""

import asyncio
import threading
from collections.abc import Coroutine, Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from outlast.protocol.statuses import Status
from outlast.sdk.durations import Duration
from outlast.sdk.handles import RunHandle
from outlast.sdk.results import Result
from outlast.sdk.task import Task
from outlast.testing.inspection import AnyRun, Anything
from outlast.testing.journals import Journal
from outlast.testing.platform import Platform

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")


class SyncPlatform:
    """`Platform` for tests of Django, Flask and scripts: `with SyncPlatform(tasks=[…]) as env`.

    Trigger with the `_sync` forms of the SDK.
    """

    def __init__(
        self,
        *,
        tasks: Iterable[Task[Any, Any]] | None = None,
        start: datetime | None = None,
        environment: str = "dev",
    ) -> None:
        self._platform = Platform(tasks=tasks, start=start, environment=environment)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="platform", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._call(self._platform.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._call(self._platform.__aexit__(exc_type, exc, traceback))
        finally:
            self._stop()

    @property
    def now(self) -> datetime:
        """The durable time."""
        return self._platform.now

    @overload
    def run(self, task: Task[None, Out]) -> Result[Out]: ...
    @overload
    def run(self, task: Task[In, Out], payload: In) -> Result[Out]: ...
    def run(self, task: Task[Any, Out], payload: object = None) -> Result[Out]:
        """Trigger a task and return how its run ended."""
        return self._call(self._platform.run(task, payload))

    def result(self, run: RunHandle[Out] | str) -> Result[Out]:
        """Return how a run ended; time passes for it."""
        return self._call(self._platform.result(run))

    def until_waiting(self, run: AnyRun) -> None:
        """Return once a run waits for something; no time passes."""
        self._call(self._platform.until_waiting(run))

    def advance(self, duration: Duration | None = None, /, **parts: float) -> None:
        """Let time pass: `advance(days=1)`, `advance("1h30m")`."""
        self._call(self._platform.advance(duration, **parts))

    def settle(self) -> None:
        """Return once every run has ended or waits."""
        self._call(self._platform.settle())

    def kill_worker(self) -> None:
        """Kill the worker as SIGKILL does, and start another."""
        self._call(self._platform.kill_worker())

    def status(self, run: AnyRun) -> Status:
        """Return where a run stands."""
        return self._platform.status(run)

    def metadata(self, run: AnyRun) -> dict[str, Any]:
        """Return a run's metadata."""
        return self._platform.metadata(run)

    def tags(self, run: AnyRun) -> tuple[str, ...]:
        """Return a run's tags."""
        return self._platform.tags(run)

    def logs(self, run: AnyRun) -> list[str]:
        """Return what a run logged and printed, in order."""
        return self._platform.logs(run)

    def journal(self, run: AnyRun) -> Journal:
        """Return what is recorded of a run."""
        return self._platform.journal(run)

    def assert_triggered(
        self,
        task: Task[Any, Any] | str,
        *,
        count: int | None = None,
        payload: object = Anything.ANYTHING,
        tags: str | tuple[str, ...] = (),
    ) -> None:
        """Fail unless runs of a task were created: `count` of them, else at least one."""
        self._platform.assert_triggered(task, count=count, payload=payload, tags=tags)

    def assert_not_triggered(
        self, task: Task[Any, Any] | str, *, payload: object = Anything.ANYTHING
    ) -> None:
        """Fail if a run of a task, with this payload, was created."""
        self._platform.assert_not_triggered(task, payload=payload)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._call(_cancel_rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_rest() -> None:
    """End what is left on the loop, as `asyncio.run` does."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
