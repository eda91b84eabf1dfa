"""Scopes: whose calls are counted together, so that a replay counts them alike.

The root of a run is a scope; so is every asyncio task of it and every body of a step. A task's
scope is named by its coroutine and its place among its parent's children of that name: tasks that
libraries start bear other names, so they shift nothing.
"""

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextvars import Context
from types import CodeType, FrameType, TracebackType
from typing import Any, TypeAlias, cast

from outlast.sdk import runtime

Steps: TypeAlias = Coroutine[Any, Any, Any]
TaskOf: TypeAlias = asyncio.Future[Any]


class Scope:
    """What has been counted in one scope so far."""

    __slots__ = (
        "_children", "_counts", "chunks", "lines", "ordinal", "parent", "path", "position",
    )  # fmt: skip

    def __init__(self, path: str = "", parent: "Scope | None" = None) -> None:
        self.path = path
        self.parent = parent
        self.position = 0
        """Calls made, each at its position from 1."""
        self.ordinal = 0
        """Changes of metadata made, each with its ordinal from 1."""
        self.lines = 0
        """Lines said, likewise."""
        self.chunks = 0
        """Chunks appended to streams, likewise."""
        self._counts: dict[str, int] = {}
        self._children: dict[str, int] = {}

    def within(self, name: str) -> str:
        """Return the full name of something in this scope."""
        return f"{self.path}/{name}" if self.path else name

    def occurrence(self, name: str) -> int:
        """Return how often the name was counted before, and count it."""
        seen = self._counts.get(name, 0)
        self._counts[name] = seen + 1
        return seen

    def child(self, name: str) -> "Scope":
        """Return the scope of a task that was created in this one."""
        name = "~" + name.replace("/", "%2F")
        seen = self._children.get(name, 0)
        self._children[name] = seen + 1
        return Scope(self.within(f"{name}#{seen}"), self)

    def body(self, key: str) -> "Scope":
        """Return the scope of a step's body, counted from the start at every execution."""
        return Scope(key, self)


class Owner(ABC):
    """A run that knows the asyncio tasks made in it."""

    @abstractmethod
    def adopt(self, task: asyncio.Task[Any], coro: Steps) -> None:
        """Take in a task that was made in the run's context, by the task that is current."""

    @property
    @abstractmethod
    def rests(self) -> bool:
        """Whether the run has given its slot back."""

    @abstractmethod
    def stir(self) -> None:
        """Take note that code of the run goes on by itself."""

    @abstractmethod
    def instead(self, boundary: "Boundary") -> BaseException | None:
        """Return what is raised in place of the CancelledError that a task is about to get."""

    @abstractmethod
    def left(self, error: BaseException) -> BaseException:
        """Take SystemExit or KeyboardInterrupt of user code; return what to raise instead."""


class Boundary(Steps):
    """A coroutine that never raises what would end the event loop.

    asyncio lets SystemExit and KeyboardInterrupt of any task out of `run_forever`, which would end
    every other run of the executor. Here they become the failure of their own run.
    """

    def __init__(self, coro: Steps, owner: Owner) -> None:
        self.inner = coro
        self.owner = owner
        self.__name__ = getattr(coro, "__name__", type(coro).__name__)
        self.__qualname__ = getattr(coro, "__qualname__", self.__name__)

    def send(self, value: Any) -> Any:
        """Run to the next suspension."""
        if self.owner.rests:
            self.owner.stir()
        try:
            return self.inner.send(value)
        except (SystemExit, KeyboardInterrupt) as error:
            raise self.owner.left(error) from error

    def throw(
        self,
        typ: Any,
        val: Any = None,
        tb: TracebackType | None = None,
    ) -> Any:
        """Run to the next suspension, beginning with an exception."""
        if isinstance(typ, asyncio.CancelledError) and (due := self.owner.instead(self)):
            typ, val, tb = due, None, None
        try:
            if val is None and tb is None:
                return self.inner.throw(typ)
            return self.inner.throw(typ, val, tb)
        except (SystemExit, KeyboardInterrupt) as error:
            raise self.owner.left(error) from error

    def close(self) -> None:
        """End the coroutine where it stands."""
        self.inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.inner.__await__()

    @property
    def cr_await(self) -> object:
        """What the coroutine awaits."""
        return getattr(self.inner, "cr_await", None)

    @property
    def cr_frame(self) -> FrameType | None:
        """The frame of the coroutine."""
        return getattr(self.inner, "cr_frame", None)

    @property
    def cr_code(self) -> CodeType | None:
        """The code of the coroutine."""
        return getattr(self.inner, "cr_code", None)

    @property
    def cr_running(self) -> bool:
        """Whether the coroutine executes at this moment."""
        return getattr(self.inner, "cr_running", False)


def inner(coro: Steps) -> Steps:
    """Return the coroutine that somebody wrote, behind our boundary and anyio's wrapper."""
    if isinstance(coro, Boundary):
        coro = coro.inner
    frame = getattr(coro, "cr_frame", None)
    if frame is not None and frame.f_globals.get("__name__") == "anyio._backends._asyncio":
        names = frame.f_locals
        wrapped = names.get("coro") or getattr(names.get("self"), "_coro", None)
        if isinstance(wrapped, Coroutine):
            return wrapped
    return coro


def name_of(coro: Steps) -> str:
    """Return module and qualified name of a coroutine, alike in every process of a version."""
    coro = inner(coro)
    frame = getattr(coro, "cr_frame", None)
    module = frame.f_globals.get("__name__", "") if frame is not None else type(coro).__module__
    name = getattr(coro, "__qualname__", None) or type(coro).__qualname__
    return f"{module}.{name}"


def install(loop: asyncio.AbstractEventLoop) -> None:
    """Make a loop's new tasks known to the run that makes them; a factory that is set goes on."""
    previous: Callable[..., TaskOf] | None = loop.get_task_factory()
    if getattr(previous, "outlast", False):
        return

    def factory(
        loop: asyncio.AbstractEventLoop,
        coro: Steps,
        *,
        context: Context | None = None,
        **options: Any,
    ) -> TaskOf:
        owner: object = runtime.current() if context is None else runtime.current_in(context)
        run = owner if isinstance(owner, Owner) else None
        guarded = Boundary(coro, run) if run is not None else coro
        if context is not None:
            options["context"] = context
        if previous is not None:
            task = previous(loop, guarded, **options)
        else:
            task = asyncio.Task(guarded, loop=loop, **options)
        if run is not None and isinstance(task, asyncio.Task):
            run.adopt(task, coro)
        return task

    factory.outlast = True  # type: ignore[attr-defined]
    loop.set_task_factory(cast("Any", factory))


def keep_order() -> None:
    """Make `asyncio.as_completed` create its tasks in the order of its arguments.

    It puts coroutines into a set first, so that their order, and with it the names of their scopes,
    is one of memory addresses. Nothing changes outside of runs.
    """
    original = asyncio.as_completed
    if getattr(original, "outlast", False):
        return

    @functools.wraps(original)
    def as_completed(fs: Iterable[Any], *, timeout: float | None = None) -> Any:
        if runtime.current() is not None and not isinstance(fs, asyncio.Future | Coroutine):
            fs = [asyncio.ensure_future(each) for each in fs]
        return original(fs, timeout=timeout)

    as_completed.outlast = True  # type: ignore[attr-defined]
    asyncio.as_completed = as_completed


def current_task(loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any] | None:
    """Return the task that executes on a loop, if one does."""
    try:
        return asyncio.current_task(loop)
    except RuntimeError:
        return None
