"""What a task knows about its run, and where its ids, chance and time come from."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from outlast.protocol.messages import Facts


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


@dataclass(frozen=True, slots=True)
class RunContext:
    """The run. `version` is the version of the tasks it runs on."""

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


@dataclass(frozen=True, slots=True)
class AttemptContext:
    """The attempt, counted from 1."""

    number: int


@dataclass(frozen=True, slots=True)
class TaskContext:
    """The task."""

    id: str


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
    def token(self) -> str | None:
        """The same text however often this step is executed; None outside a step.

        Hand it to a vendor as its idempotency key, and the effect happens once.
        """
        return self._source.step_token()


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
    step: StepContext
    _source: Source

    @classmethod
    def of(cls, facts: Facts, source: Source) -> "Context":
        """Return the context of a run."""
        return cls(
            run=_run(facts),
            attempt=AttemptContext(facts.attempt),
            task=TaskContext(facts.task),
            queue=QueueContext(facts.queue),
            environment=EnvironmentContext(facts.environment, facts.environment_slug),
            project=ProjectContext(facts.project),
            batch=BatchContext(facts.batch) if facts.batch else None,
            step=StepContext(source),
            _source=source,
        )

    @property
    def version(self) -> str:
        """The version of the tasks that the run runs on."""
        return self.run.version

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
    )
