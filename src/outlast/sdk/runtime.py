"""The seam between user-facing calls and whoever runs the task.

The executor sets the runtime of a run in a context variable; outside a run there is none, and calls
that need one raise `OutsideRunError`.
"""

import concurrent.futures
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import Context as Variables
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

from outlast.protocol.messages import Call, LogLevel, MetadataOperation
from outlast.protocol.outcomes import Outcome
from outlast.protocol.triggers import Triggered

if TYPE_CHECKING:  # which reads the current run from here
    from outlast.sdk.context import Context

EntryKind = Literal[
    "step", "child", "batch", "trigger", "wait", "hook", "token", "waitpoint", "stream", "peek"
]


SEVERITIES: Final[dict[LogLevel, int]] = {
    "TRACE": 5,
    "DEBUG": 10,
    "INFO": 20,
    "LOG": 25,
    "WARN": 30,
    "ERROR": 40,
}


class Words(msgspec.Struct, frozen=True):
    """A line, or the start or end of a span, before its run gives it a place."""

    level: LogLevel
    message: str
    kind: Literal["line", "start", "end"] = "line"
    span: str | None = None
    parent: str | None = None
    attributes: str | None = None


class Runtime(Protocol):
    """One run, seen by the calls that its code makes.

    A key is reserved when the call is made; the other methods take it. Every method answers from
    the journal while the run replays, and waits for a fresh lease before it starts anything new.
    Async and sync twins exist because a `def` task blocks its thread where an async one awaits.
    """

    @property
    def context(self) -> "Context":
        """What `ctx` is."""

    def reserve(self, kind: EntryKind, name: str) -> str:
        """Return the next key of this kind and name in the caller's scope.

        Raises `ForeignCallError` from a thread or loop that the run does not own, `WaitInStepError`
        for anything but a trigger inside a step.
        """

    async def trigger(self, call: Call) -> tuple[Triggered, ...]:
        """Create runs that go their own way. Refusals are in the answers."""

    async def resolve(self, call: Call) -> Outcome:
        """Create a child, batch or wait and return its end. Gives the slot back meanwhile."""

    async def recall(self, key: str, kind: EntryKind, name: str, arguments: str) -> Outcome | None:
        """Return what the journal holds for a local entry; None: it is to be executed now."""

    async def record(
        self, key: str, kind: EntryKind, name: str, arguments: str, outcome: Outcome
    ) -> Outcome:
        """Record the end of a local entry; return what the journal holds now."""

    def trigger_sync(self, call: Call) -> tuple[Triggered, ...]:
        """Blocking `trigger`."""

    def resolve_sync(self, call: Call) -> Outcome:
        """Blocking `resolve`."""

    def recall_sync(self, key: str, kind: EntryKind, name: str, arguments: str) -> Outcome | None:
        """Blocking `recall`."""

    def record_sync(
        self, key: str, kind: EntryKind, name: str, arguments: str, outcome: Outcome
    ) -> Outcome:
        """Blocking `record`."""

    async def in_thread(self, call: Callable[[], object]) -> object:
        """Return what a call returns that is made in a thread."""

    def step(self, key: str) -> AbstractContextManager[None]:
        """Enter the body of a step: `ctx.step.token` is set, waits are refused."""

    def metadata(self) -> dict[str, object]:
        """Return the run's metadata as the code has left it (a copy)."""

    def operate(self, make: Callable[[str, int], MetadataOperation]) -> None:
        """Change metadata. `make(scope, ordinal)` builds the operation at its position."""

    def tag(self, tags: tuple[str, ...]) -> None:
        """Add tags to the run."""

    @property
    def local_values(self) -> dict[object, Any]:
        """What `locals` hold in this run and process."""

    def keep(self, work: Awaitable[object] | concurrent.futures.Future[Any]) -> None:
        """Wait for something after everything else."""

    def active_seconds(self) -> tuple[float, float]:
        """Return for how long this attempt, and all of them, have worked."""

    async def store(self, *, refresh: bool = False) -> None:
        """Return when metadata and tags are stored; `refresh` also reads what others changed."""

    def store_sync(self, *, refresh: bool = False) -> None:
        """Blocking `store`."""

    def append(self, key: str, data: str, *, target: str, writer: str | None) -> None:
        """Append a chunk, JSON text, to a stream; a replay does not repeat it.

        What a `writer` appends is appended again whenever the code runs again.
        """

    async def appended(self, most: int = 0) -> None:
        """Return when no more than so many characters of chunks are not stored."""

    def appended_sync(self, most: int = 0) -> None:
        """Blocking `appended`."""

    def logs(self, level: LogLevel) -> bool:
        """Say whether the log level of the project lets a level pass."""

    def say(self, words: Words) -> bool:
        """Say a line or the end of a span; False when a replay only repeats it."""

    def begin(self, words: Words) -> str:
        """Begin a span and return its id."""

    def echo(self, line: str) -> None:
        """Show a line on the worker's terminal, unless its settings say no."""


_current: ContextVar[Runtime | None] = ContextVar("outlast_runtime", default=None)
_span: ContextVar[str | None] = ContextVar("outlast_span", default=None)


def current() -> Runtime | None:
    """Return the runtime of the run that this code belongs to, or None outside a run."""
    return _current.get()


def current_in(variables: Variables) -> Runtime | None:
    """Return the runtime that code running in a context of `contextvars` would belong to."""
    return variables.get(_current)


def span() -> str | None:
    """Return the id of the span that this code is in."""
    return _span.get()


@contextmanager
def within(span: str) -> Iterator[None]:
    """Make a span the current one inside a `with` block."""
    token = _span.set(span)
    try:
        yield
    finally:
        _span.reset(token)


def entered(runtime: Runtime) -> AbstractContextManager[None]:
    """Make `runtime` the current one inside a `with` block."""
    return _Entered(runtime)


class _Entered:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __enter__(self) -> None:
        self._token = _current.set(self._runtime)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
