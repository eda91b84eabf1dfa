"""How a run calls the code of its user, and waits for the journal: `async def` and `def`."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from outlast.protocol.outcomes import Outcome
from outlast.sdk.context import Context
from outlast.sdk.errors import UsageError
from outlast.sdk.hooks import Hook, Hooks
from outlast.sdk.task import Task
from outlast.worker import django
from outlast.worker.hooks import Manager

T = TypeVar("T")
Kept = Awaitable[object] | concurrent.futures.Future[Any]

KEPT_SECONDS = 60.0
"""How long a run waits for what `wait_until` was given."""

logger = logging.getLogger("outlast.worker")


class Acting(Protocol):
    """A run, as its hands need it."""

    id: str
    task: Task[Any, Any]
    kept: list[Kept]

    @property
    def context(self) -> Context:
        """What `ctx` is."""


class Waiting(Acting, Protocol):
    """A run of an `async def` task."""

    async def ask_step(self, key: str, arguments: str) -> Outcome | None:
        """Return the recorded end of a local entry; None: it may begin now."""

    async def end_step(self, key: str, arguments: str, outcome: Outcome) -> Outcome:
        """Record the end of a local entry."""

    async def in_thread(self, call: Callable[[], object]) -> object:
        """Return what a call returns that is made in a thread."""


class Blocking(Acting, Protocol):
    """A run of a `def` task."""

    def block(self, call: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine of the executor's loop."""

    def invoke(self, call: Callable[[], object]) -> object:
        """Call the function; only there it may be interrupted."""

    async def ask_step(self, key: str, arguments: str) -> Outcome | None:
        """Return the recorded end of a local entry; None: it may begin now."""

    async def end_step(self, key: str, arguments: str, outcome: Outcome) -> Outcome:
        """Record the end of a local entry."""


class AsyncHands:
    """Everything on the loop of the executor; plain hooks in a thread."""

    def __init__(self, run: Waiting) -> None:
        self._run = run

    async def recall(self, key: str, arguments: str) -> Outcome | None:
        """Return what the journal holds for an entry; None: it is to be made now."""
        return await self._run.ask_step(key, arguments)

    async def record(self, key: str, arguments: str, outcome: Outcome) -> Outcome:
        """Record an entry; return what the journal holds now."""
        return await self._run.end_step(key, arguments, outcome)

    async def function(self, payload: object) -> object:
        """Call the function of the task."""
        task = self._run.task
        args, named = task.arguments(payload, self._run.context if task.takes_context else None)
        return await task.function(*args, **named)

    async def call(self, hook: Hook, values: Mapping[str, object]) -> object:
        """Call a hook, where it suits it; return what it returned in the end."""
        if hook.is_async:
            return await hook(values)
        within = contextvars.copy_context()
        said = await self._run.in_thread(functools.partial(within.run, hook, values))
        return await said if inspect.isawaitable(said) else said

    async def enter(self, manager: Manager) -> None:
        """Enter a middleware."""
        if isinstance(manager, contextlib.AbstractAsyncContextManager):
            await manager.__aenter__()
        else:
            manager.__enter__()

    async def leave(self, manager: Manager, error: BaseException | None) -> None:
        """Leave a middleware."""
        told = (type(error), error, error.__traceback__) if error else (None, None, None)
        if isinstance(manager, contextlib.AbstractAsyncContextManager):
            await manager.__aexit__(*told)
        else:
            manager.__exit__(*told)

    async def let_go(self) -> None:
        """Give back what nobody should hold while they wait."""
        if django.is_used():
            await django.close_connections()

    async def drain(self) -> None:
        """Wait for the work that the task left to finish."""
        until = time.monotonic() + KEPT_SECONDS  # also for what the work itself adds
        while self._run.kept and (patience := until - time.monotonic()) > 0:
            work = {_future(each) for each in self._run.kept}
            self._run.kept.clear()
            done, left = await asyncio.wait(work, timeout=patience)
            for each in done:
                if not each.cancelled() and (error := each.exception()) is not None:
                    _warn_failed(self._run.id, error)
            self._run.kept += left
        for late in self._run.kept:
            _future(late).cancel()
            _warn_late(self._run.id)
        self._run.kept.clear()


class SyncHands:
    """Everything on the main thread. Its coroutines never suspend: `play_through` runs them."""

    def __init__(self, run: Blocking) -> None:
        self._run = run
        self._runner: asyncio.Runner | None = None

    async def recall(self, key: str, arguments: str) -> Outcome | None:
        """Return what the journal holds for an entry; None: it is to be made now."""
        return self._run.block(self._run.ask_step(key, arguments))

    async def record(self, key: str, arguments: str, outcome: Outcome) -> Outcome:
        """Record an entry; return what the journal holds now."""
        return self._run.block(self._run.end_step(key, arguments, outcome))

    async def function(self, payload: object) -> object:
        """Call the function of the task."""
        task = self._run.task
        args, named = task.arguments(payload, self._run.context if task.takes_context else None)
        value = self._run.invoke(functools.partial(task.function, *args, **named))
        if inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()
            name = task.function.__qualname__
            raise UsageError(
                f"task {task.id} is a `def` that returned an awaitable: a decorator around "
                f"{name} hides its `async def`; put @task below that decorator's wrapper, or make "
                "the wrapper `async def`"
            )
        return value

    async def call(self, hook: Hook, values: Mapping[str, object]) -> object:
        """Call a hook, where it suits it; return what it returned in the end."""
        said = hook(values)
        return self._finish(said) if inspect.isawaitable(said) else said

    async def enter(self, manager: Manager) -> None:
        """Enter a middleware."""
        if isinstance(manager, contextlib.AbstractAsyncContextManager):
            self._finish(manager.__aenter__())
        else:
            manager.__enter__()

    async def leave(self, manager: Manager, error: BaseException | None) -> None:
        """Leave a middleware."""
        told = (type(error), error, error.__traceback__) if error else (None, None, None)
        if isinstance(manager, contextlib.AbstractAsyncContextManager):
            self._finish(manager.__aexit__(*told))
        else:
            manager.__exit__(*told)

    async def let_go(self) -> None:
        """Give back what nobody should hold while they wait."""
        django.close_old_connections()

    async def drain(self) -> None:
        """Wait for the work that the task left to finish."""
        until = time.monotonic() + KEPT_SECONDS
        while self._run.kept:
            work = self._run.kept.pop(0)
            left = max(0.0, until - time.monotonic())
            try:
                if isinstance(work, concurrent.futures.Future):
                    work.result(left)
                else:
                    self._finish(asyncio.wait_for(work, left))
            except (TimeoutError, concurrent.futures.TimeoutError):
                _warn_late(self._run.id)
            except Exception as error:  # noqa: BLE001 - it is told, and changes nothing
                _warn_failed(self._run.id, error)

    def close(self) -> None:
        """End the loop that coroutines of hooks ran on."""
        if self._runner is not None:
            self._runner.close()

    def _finish(self, work: Awaitable[T]) -> T:
        """Run something to its end on a loop of this thread: the same one for the whole run."""
        if self._runner is None:
            self._runner = asyncio.Runner()

        async def driven() -> T:
            return await work

        return self._runner.run(driven(), context=contextvars.copy_context())


async def boot(hooks: Hooks) -> None:
    """Call what is to happen once in a process, before its first run."""
    for hook in hooks.of("on_worker_boot"):
        try:
            said = hook({})
            if inspect.isawaitable(said):
                await said
        except Exception:  # the runs are tried all the same, and say what they lack
            logger.exception("the on_worker_boot hook %s failed", hook.label)


def play_through(work: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that never suspends."""
    try:
        work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    work.close()
    raise RuntimeError("the code of a `def` task suspended")


def _future(work: Kept) -> asyncio.Future[object]:
    if isinstance(work, concurrent.futures.Future):
        return asyncio.wrap_future(work)
    return asyncio.ensure_future(work)


def _warn_failed(run: str, error: BaseException) -> None:
    logger.error("work that run %s kept on with wait_until failed", run, exc_info=error)


def _warn_late(run: str) -> None:
    logger.warning(
        "run %s ends though its work of wait_until goes on after %.0f s; it is canceled: make it "
        "a step, or a run of its own",
        run,
        KEPT_SECONDS,
    )
