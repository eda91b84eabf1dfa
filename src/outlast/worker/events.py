"""What a worker tells whoever started it, for the lines that a terminal shows."""

from dataclasses import dataclass

import msgspec

from outlast.protocol.frames import Frame, Kind
from outlast.protocol.messages import Fail
from outlast.worker.findings import Problem


@dataclass(frozen=True)
class Ready:
    """The worker is connected and can execute runs of this version."""

    version: str
    tasks: tuple[str, ...]
    server: str
    environment: str


@dataclass(frozen=True)
class Rejected:
    """Code that cannot be used. `keeps` names the version that goes on instead, if any."""

    errors: tuple[Problem, ...]
    keeps: str | None = None


@dataclass(frozen=True)
class Warned:
    """Something about the tasks that will surprise their author."""

    message: str


@dataclass(frozen=True)
class Disconnected:
    """The link to a server is gone; the worker reconnects by itself."""

    server: str
    reason: str


@dataclass(frozen=True)
class Fenced:
    """No server answered for too long: everything that ran here was stopped."""

    runs: int


@dataclass(frozen=True)
class ExecutorDied:
    """An executor process ended without having been asked to."""

    pid: int
    reason: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class RunStarted:
    """A run entered its function here, for the first time or again."""

    run: str
    task: str


@dataclass(frozen=True)
class RunEnded:
    """An attempt ended here. `error` is its type and message; `retry_in` seconds to the next.

    `kind` is what kind of failure it was, `line` where in the user's code.
    """

    run: str
    task: str
    ok: bool
    seconds: float
    error: str | None = None
    retry_in: float | None = None
    kind: str | None = None
    line: str = ""
    attempt: int = 1


@dataclass(frozen=True)
class RunRestarted:
    """A run begins again under its id, in the next generation."""

    run: str
    task: str
    seconds: float


def ended(sent: Frame, task: str, attempt: int, seconds: float) -> RunEnded | RunRestarted | None:
    """Return the event of a run's last frame; None: the run was handed back."""
    if sent.kind == Kind.COMPLETE:
        return RunEnded(sent.run, task, ok=True, seconds=seconds)
    if sent.kind == Kind.RESTART:
        return RunRestarted(sent.run, task, seconds)
    if sent.kind != Kind.FAIL:
        return None
    fail = msgspec.msgpack.decode(sent.body, type=Fail)
    return RunEnded(
        sent.run,
        task,
        ok=False,
        seconds=seconds,
        error=f"{fail.error.type}: {fail.error.message}",
        retry_in=fail.retry_in,
        kind=fail.error.kind,
        line=fail.error.line,
        attempt=attempt,
    )


@dataclass(frozen=True)
class RunLeft:
    """The server took a run away, or ended it: its work here is of no use any more."""

    run: str
    task: str
    reason: str


WorkerEvent = (
    Ready
    | Rejected
    | Warned
    | Disconnected
    | Fenced
    | ExecutorDied
    | RunStarted
    | RunEnded
    | RunRestarted
    | RunLeft
)
