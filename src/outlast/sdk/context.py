"""What a task knows about its run, and where its ids, chance and time come from."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar
from uuid import UUID

from outlast.protocol.machines import PRESETS
from outlast.protocol.messages import Facts
from outlast.sdk.errors import RunInterrupted, UsageError
from outlast.sdk.hooks import Acting
from outlast.sdk.inside import required
from outlast.sdk.signals import CancelSignal

ActingT = TypeVar("ActingT", bound=Acting)


class Source(Protocol):
    """Gives values that a replay gives again."""

    def uuid4(self) -> UUID:
        """Return the next id."""

    def random(self) -> float:
        """Return the next number in [0, 1)."""

    def now(self) -> datetime:
        """Return the time of the call, aware; on replay the time of the first pass."""

    def step_token(self) -> str | None:
        """Return the token of the step that is executing, None outside a step."""

    @property
    def signal(self) -> CancelSignal:
        """Set when the run is to stop."""

    def on_cancel(self, function: Callable[..., Any]) -> None:
        """Register what is to happen after a cancel."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """The run. `version` is the version of the tasks it runs on.

    `generation` is 1, and one more after each `raise Restart(...)`.
    """

    id: str
    created_at: datetime
    started_at: datetime
    version: str
    tags: tuple[str, ...]
    max_attempts: int
    max_duration: timedelta | None
    idempotency_key: str | None
    concurrency_key: str | None
    parent: str | None
    root: str | None
    is_test: bool
    is_replay: bool
    priority: timedelta
    generation: int = 1


@dataclass(frozen=True, slots=True)
class AttemptContext:
    """The attempt, counted from 1 in each generation of the run."""

    number: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class TaskContext:
    """The task, and the file that declares it."""

    id: str
    file_path: str


@dataclass(frozen=True, slots=True)
class QueueContext:
    """The queue that the run came through."""

    name: str


@dataclass(frozen=True, slots=True)
class EnvironmentContext:
    """The environment that the run belongs to."""

    id: str
    slug: str


@dataclass(frozen=True, slots=True)
class ProjectContext:
    """The project that the environment belongs to."""

    ref: str
    name: str


@dataclass(frozen=True, slots=True)
class MachineContext:
    """The machine preset that the run asked for: processors and gigabytes of memory."""

    name: str
    cpu: float | None
    memory: float | None


@dataclass(frozen=True, slots=True)
class DeploymentContext:
    """The version of the tasks that the attempt began on."""

    id: str | None
    version: str


@dataclass(frozen=True, slots=True)
class BatchContext:
    """The batch that the run was triggered in."""

    id: str


class StepContext:
    """The step that is executing."""

    __slots__ = ("_source",)

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def token(self) -> str:
        """The same text however often this step is executed.

        Hand it to a vendor as its idempotency key, and the effect happens once. Raises `UsageError`
        outside a step.
        """
        token = self._source.step_token()
        if token is None:
            raise UsageError(
                "ctx.step.token belongs to a step; read it in the function that you give to step()"
            )
        return token


@dataclass(frozen=True, slots=True)
class Context:
    """What `ctx` is inside a task. It does not change while the attempt runs."""

    run: RunContext
    attempt: AttemptContext
    task: TaskContext
    queue: QueueContext
    environment: EnvironmentContext
    project: ProjectContext
    batch: BatchContext | None
    machine: MachineContext | None
    deployment: DeploymentContext
    step: StepContext
    _source: Source

    @classmethod
    def of(cls, facts: Facts, source: Source, file_path: str = "") -> "Context":
        """Return the context of a run. `file_path` is where its task is declared."""
        return cls(
            run=_run(facts),
            attempt=AttemptContext(facts.attempt, _moment(facts.attempt_started_at, facts)),
            task=TaskContext(facts.task, file_path),
            queue=QueueContext(facts.queue),
            environment=EnvironmentContext(facts.environment, facts.environment_slug),
            project=ProjectContext(facts.project, facts.project_name),
            batch=BatchContext(facts.batch) if facts.batch else None,
            machine=_machine(facts.machine),
            deployment=DeploymentContext(facts.version_id, facts.version),
            step=StepContext(source),
            _source=source,
        )

    @staticmethod
    def current() -> "Context":
        """Return the context of the run that the calling code belongs to.

        For code that nobody hands `ctx` to. Raises `OutsideRunError`.
        """
        return required("Context.current()", "elsewhere there is no run").context

    @property
    def version(self) -> str:
        """The version of the tasks that the run runs on."""
        return self.run.version

    @property
    def signal(self) -> CancelSignal:
        """Set when the run is canceled or has used up its `max_duration`."""
        return self._source.signal

    def raise_if_cancelled(self) -> None:
        """Raise `RunInterrupted` if the run is to stop: for loops of `def` tasks."""
        if self.signal:
            raise RunInterrupted(f"run {self.run.id} is to stop: {self.signal.reason}")

    def on_cancel(self, function: ActingT, /) -> ActingT:
        """Register a hook for a cancel of this run, while its function runs or is parked."""
        self._source.on_cancel(function)
        return function

    def uuid4(self) -> UUID:
        """Return a random id that a replay gives again. Nobody can compute it from the run's id."""
        return self._source.uuid4()

    def random(self) -> float:
        """Return a random number in [0, 1) that a replay gives again."""
        return self._source.random()

    def now(self) -> datetime:
        """Return the time of this call, aware and in UTC, that a replay gives again."""
        return self._source.now()


def _run(facts: Facts) -> RunContext:
    duration = facts.max_duration
    return RunContext(
        id=facts.run_id,
        created_at=datetime.fromtimestamp(facts.created_at, UTC),
        started_at=datetime.fromtimestamp(facts.started_at, UTC),
        version=facts.version,
        tags=facts.tags,
        max_attempts=facts.max_attempts,
        max_duration=None if duration is None else timedelta(seconds=duration),
        idempotency_key=facts.idempotency_key,
        concurrency_key=facts.concurrency_key,
        parent=facts.parent,
        root=facts.root,
        is_test=facts.is_test,
        is_replay=facts.is_replay,
        priority=timedelta(seconds=facts.priority),
        generation=facts.generation,
    )


def _moment(at: float | None, facts: Facts) -> datetime:
    return datetime.fromtimestamp(facts.started_at if at is None else at, UTC)


def _machine(name: str | None) -> MachineContext | None:
    if name is None:
        return None
    preset = PRESETS.get(name)
    if preset is None:
        return MachineContext(name, None, None)
    return MachineContext(name, preset.cpu, preset.memory)
