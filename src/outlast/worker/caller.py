"""What code asks of its run without waiting: keys, the body of a step, metadata, tags and lines."""

import contextvars
import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import get_args

import msgspec

from outlast.protocol.messages import LogLevel, LogLine, MetadataOperation
from outlast.sdk import runtime
from outlast.sdk.errors import (
    ForeignCallError,
    NonDeterministicReplayError,
    OutsideRunError,
    WaitInStepError,
)
from outlast.sdk.hooks import HookKind
from outlast.sdk.runtime import SEVERITIES, EntryKind, Words
from outlast.worker.journal import Journal
from outlast.worker.reports import Reports
from outlast.worker.scopes import Scope
from outlast.worker.slot import State

_body: contextvars.ContextVar[tuple["Caller", Scope, str] | None] = contextvars.ContextVar(
    "outlast_step", default=None
)


class Caller(ABC):
    """The part of a run that answers at once."""

    id: str
    attempt: int
    journal: Journal
    reports: Reports
    threshold: int
    """The least severity that `logger` says."""
    steps: int
    """Bodies of steps that execute at this moment."""
    lost: BaseException | None
    """What ends the run whatever its code makes of it: SystemExit, a replay that cannot be."""

    @property
    @abstractmethod
    def state(self) -> State:
        """Whether the run executes, waits or is over."""

    @abstractmethod
    def here(self) -> Scope:
        """Return the scope of the code that calls."""

    def reserve(self, kind: EntryKind, name: str) -> str:
        """Return the next key of this kind and name in the caller's scope."""
        if self.state is State.ENDED:
            raise self.over()
        if isinstance(self.lost, NonDeterministicReplayError):
            raise self.lost
        if kind != "trigger" and (body := self.body()) is not None:
            raise WaitInStepError(_refusal(kind, name, self.id, body[1]))
        try:
            return self.journal.reserve(self.here(), kind, name)
        except NonDeterministicReplayError as error:
            self.lost = error
            raise

    def step(self, key: str) -> AbstractContextManager[None]:
        """Enter the body of a step: `ctx.step.token` is set, waits are refused."""
        return _Body(self, key)

    def body(self) -> tuple[Scope, str] | None:
        """Return scope and key of the step whose body calls, if one does."""
        entered = _body.get()
        return None if entered is None or entered[0] is not self else entered[1:]

    def metadata(self) -> dict[str, object]:
        """Return the run's metadata as the code has left it."""
        return self.reports.metadata()

    def operate(self, make: Callable[[str, int], MetadataOperation]) -> None:
        """Change metadata at the caller's position."""
        self.reports.operate(make(*self.reports.place(self._scope(), line=False)))

    def tag(self, tags: tuple[str, ...]) -> None:
        """Add tags to the run."""
        self.reports.tag(tags)

    def append(self, key: str, data: str, *, target: str, writer: str | None) -> None:
        """Append a chunk to a stream, at the caller's position or at one of a writer's own."""
        self.reports.streams.append(self._scope(), key, data, target=target, writer=writer)

    def say(self, words: Words) -> bool:
        """Say a line; False when a replay only repeats it."""
        if self.state is State.ENDED:
            return True
        return self._say(words, *self.reports.place(self._scope(), line=True))

    def begin(self, words: Words) -> str:
        """Begin a span and return its id, which a replay finds again."""
        scope, ordinal = self.reports.place(self._scope(), line=True)
        place = f"{self.id}\0{self.attempt}\0{scope}\0{ordinal}"
        span = hashlib.blake2b(place.encode(), digest_size=8).hexdigest()
        self._say(msgspec.structs.replace(words, span=span), scope, ordinal)
        return span

    def said(self, level: LogLevel, message: str, *, placed: bool = True) -> bool:
        """Take a line that was printed or logged. `placed`: the code of the run said it."""
        if placed:
            return self.say(Words(level, message, span=runtime.span()))
        self.reports.say(level, message)
        return True

    def _say(self, words: Words, scope: str, ordinal: int) -> bool:
        fields = msgspec.structs.asdict(words)
        return self.reports.line(LogLine(at=time.time(), scope=scope, ordinal=ordinal, **fields))

    async def stored(self, *, refresh: bool = False) -> None:
        """Return when metadata and tags are stored. On the loop of the executor."""
        if self.state is State.ENDED:
            raise self.over()
        await self.reports.stored(refresh=refresh)

    def logs(self, level: LogLevel) -> bool:
        """Say whether the log level of the project lets a level of `logger` pass."""
        return SEVERITIES[level] >= self.threshold

    def _scope(self) -> Scope | None:
        """Return the scope of the code that reports; None: a thread's, or a callback's."""
        try:
            return self.here()
        except ForeignCallError:
            return None

    def over(self) -> OutsideRunError:
        """Return the error of a call that comes too late."""
        return OutsideRunError(
            f"run {self.id} has ended: what its code left behind (a task, a thread, a callback) "
            "cannot call for it any more; await it before the task returns"
        )


def _refusal(kind: EntryKind, name: str, run: str, key: str) -> str:
    """Say why a call inside a step, or inside a hook, which is a step too, is refused."""
    called = key.partition("/")[0].partition(" ")[0]
    if called in get_args(HookKind):
        return (
            f"a {kind} ({name}) inside the {called} hook of run {run}: what a hook waits for "
            "cannot be replayed; trigger a task that waits, or make the call in the task"
        )
    return (
        f"a {kind} ({name}) inside a step of run {run}: what a step waits for cannot be replayed; "
        "make the call outside of the step and hand its result in"
    )


class _Body:
    __slots__ = ("_caller", "_key", "_token")

    def __init__(self, caller: Caller, key: str) -> None:
        self._caller = caller
        self._key = key

    def __enter__(self) -> None:
        caller = self._caller
        self._token = _body.set((caller, caller.here().body(self._key), self._key))
        caller.steps += 1

    def __exit__(self, *_: object) -> None:
        self._caller.steps -= 1
        _body.reset(self._token)
