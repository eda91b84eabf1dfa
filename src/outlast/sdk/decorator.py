"""`@task`: make a function run in the background, typed by its signature."""

import inspect
import re
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypedDict, TypeVar, Unpack, overload

from outlast.protocol.machines import PRESETS
from outlast.protocol.manifests import LEAST_DURATION, MOST_DURATION, ScheduleManifest
from outlast.sdk.context import Context
from outlast.sdk.durations import Duration, seconds
from outlast.sdk.errors import UsageError
from outlast.sdk.options import unknown
from outlast.sdk.queue import Queue
from outlast.sdk.registry import registry
from outlast.sdk.retry import Retry
from outlast.sdk.task import Task, Unset

P_contra = TypeVar("P_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
P = TypeVar("P")
R = TypeVar("R")

MAX_ID = 128

# One Protocol per shape, `ctx` as a keyword by name: with a plain `Callable[[Context], ...]` a
# payload of type Any would count as a context, in mypy and pyright each in its own way.


class _AsyncPayloadCtx(Protocol[P_contra, R_co]):
    def __call__(self, payload: P_contra, /, *, ctx: Context) -> Coroutine[Any, Any, R_co]: ...


class _AsyncCtx(Protocol[R_co]):
    def __call__(self, *, ctx: Context) -> Coroutine[Any, Any, R_co]: ...


class _AsyncPayload(Protocol[P_contra, R_co]):
    def __call__(self, payload: P_contra, /) -> Coroutine[Any, Any, R_co]: ...


class _AsyncBare(Protocol[R_co]):
    def __call__(self) -> Coroutine[Any, Any, R_co]: ...


class _PayloadCtx(Protocol[P_contra, R_co]):
    def __call__(self, payload: P_contra, /, *, ctx: Context) -> R_co: ...


class _Ctx(Protocol[R_co]):
    def __call__(self, *, ctx: Context) -> R_co: ...


class _Payload(Protocol[P_contra, R_co]):
    def __call__(self, payload: P_contra, /) -> R_co: ...


class _Bare(Protocol[R_co]):
    def __call__(self) -> R_co: ...


class TaskDecorator:
    """What `task(...)` returns: takes the function and gives the task."""

    def __init__(self, id: str | None, options: dict[str, Any]) -> None:  # noqa: A002
        self._id = id
        self._options = options

    def scheduled(self, schedule: ScheduleManifest) -> "TaskDecorator":
        """Let the task start by the clock too."""
        return TaskDecorator(self._id, {**self._options, "schedule": schedule})

    @overload
    def __call__(self, function: _AsyncPayloadCtx[P, R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: _AsyncCtx[R], /) -> Task[None, R]: ...
    @overload
    def __call__(self, function: _AsyncPayload[P, R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: _AsyncBare[R], /) -> Task[None, R]: ...
    @overload
    def __call__(self, function: _PayloadCtx[P, R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: _Ctx[R], /) -> Task[None, R]: ...
    @overload
    def __call__(self, function: _Payload[P, R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: _Bare[R], /) -> Task[None, R]: ...
    def __call__(self, function: Callable[..., Any], /) -> Task[Any, Any]:
        """Make the task and register it."""
        _check_function(function)
        task_id = self._id or function.__name__.strip("_").replace("_", "-")
        if not re.fullmatch(rf"[^\x00-\x1f]{{1,{MAX_ID}}}", task_id):
            raise UsageError(f"task id {task_id!r} must be 1 to {MAX_ID} printable characters")
        if self._options.get("threads") and inspect.iscoroutinefunction(function):
            raise UsageError(
                f"task {task_id} is an `async def`, which shares a process as it is; threads=True "
                "is for a `def` that waits for others most of the time"
            )
        made: Task[Any, Any] = Task(function, id=task_id, names=_visible(function), **self._options)
        registry.add_task(made)
        own = made.queue
        if own is not None and own.name == f"task/{task_id}":
            registry.add_queue(own.manifest())
        return made


class TaskOptions(TypedDict, total=False):
    """What `@task` and `@schedules.task` take besides the id."""

    queue: Queue | None
    retry: Retry | None
    max_duration: Duration | None
    ttl: Duration | None
    machine: str | None
    description: str
    isolated: bool
    threads: bool


def task(
    id: str | None = None,  # noqa: A002 - the word users write
    **options: Unpack[TaskOptions],
) -> TaskDecorator:
    """Make a function a task: `@task("export-invoices", queue=..., retry=...)`.

    The function takes a payload, `ctx`, both or nothing. An `async def` shares an event loop with
    other runs, unless it is `isolated` or asks for a machine; a `def` has a process of its own,
    unless `threads` lets it run in a thread beside them, which suits what waits for others.
    Without an id the function's name counts, in kebab case. `max_duration` is one hour of active
    time unless the project says otherwise; None means no limit.
    """
    if callable(id):
        raise UsageError("write @task() or @task('id'), with parentheses")
    for name in options:
        if name not in TaskOptions.__annotations__:
            raise unknown(name, TaskOptions.__annotations__, "@task")
    return TaskDecorator(id, _checked(**options))


def _checked(
    *,
    queue: Any = None,
    retry: Any = None,
    max_duration: Duration | Unset | None = Unset.UNSET,
    ttl: Duration | None = None,
    machine: str | None = None,
    description: str = "",
    isolated: bool = False,
    threads: bool = False,
) -> dict[str, Any]:
    if queue is not None and not isinstance(queue, Queue):
        raise UsageError(
            f"queue of a task is a {type(queue).__name__}; declare Queue('name', ...) at module "
            "scope and pass that object"
        )
    if retry is not None and not isinstance(retry, Retry):
        raise UsageError(f"retry is a {type(retry).__name__}; use Retry(max_attempts=...)")
    if machine is not None and machine not in PRESETS:
        raise UsageError(f"machine {machine!r} is unknown; use one of {', '.join(PRESETS)}")
    if threads and (isolated or machine is not None):
        other = "isolated=True" if isolated else f"machine={machine!r}"
        raise UsageError(f"{other} wants a process of its own, threads=True a shared one: drop one")
    if max_duration is not None and not isinstance(max_duration, Unset):
        max_duration = seconds(max_duration, "max_duration")
        if max_duration < LEAST_DURATION:
            raise UsageError(f"max_duration must be at least {LEAST_DURATION:g} s")
        max_duration = min(max_duration, MOST_DURATION)
    return {
        "queue": queue,
        "retry": retry,
        "max_duration": max_duration,
        "ttl": None if ttl is None else seconds(ttl, "ttl"),
        "machine": machine,
        "description": description,
        "isolated": isolated,
        "threads": threads,
    }


def _check_function(function: object) -> None:
    if isinstance(function, Task):
        raise UsageError(f"{function!r} is a task already; remove the second @task")
    if isinstance(function, staticmethod | classmethod) or not inspect.isfunction(function):
        raise UsageError(f"@task takes a function at module scope, not a {type(function).__name__}")
    name = function.__qualname__
    if function.__name__ == "<lambda>":
        raise UsageError("@task cannot name a lambda; use `async def` or `def`")
    parts = name.split(".")
    if len(parts) > 1 and parts[-2] != "<locals>":
        raise UsageError(f"{name} is a method; a task is a function at module scope")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError(f"{name} is a generator; a task returns one value")
    hidden = inspect.unwrap(function)
    if (
        hidden is not function
        and inspect.iscoroutinefunction(hidden)
        and (not inspect.iscoroutinefunction(function))
    ):
        raise UsageError(
            f"the decorator {function.__code__.co_name!r} below @task hides that {name} is async; "
            "make its wrapper `async def`"
        )


def _visible(function: Callable[..., Any]) -> dict[str, Any] | None:
    """Return the names around a nested function: its annotations may be among them."""
    if "<locals>" not in function.__qualname__:
        return None
    frame = sys._getframe(2)  # noqa: SLF001 - the only way to see where a decorator stands
    return dict(frame.f_locals)
