"""Bodies of the routes that tell what tasks are and did: tasks, usage, errors."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, JsonValue, PlainSerializer

from outlast.protocol.body import Body, Moment, OffsetPagination


def _rounded(seconds: float) -> float:
    return round(seconds, 3)


@dataclass(frozen=True, slots=True)
class Tally:
    """What the runs of a task came to that ended in one span of time, stored and on the wire.

    `failed`: every end that is neither a success nor a cancel. `keyless`: runs without an
    idempotency key that neither a run nor a schedule made. `seconds` are of work, waits left out.
    """

    start: Moment
    task: str
    completed: int
    failed: int
    canceled: int
    attempts: int
    keyless: int
    seconds: Annotated[float, PlainSerializer(_rounded, return_type=float)]

    @property
    def runs(self) -> int:
        """How many runs ended."""
        return self.completed + self.failed + self.canceled


class RetryBody(Body):
    """When a failed attempt is tried again; times in seconds."""

    max_attempts: int
    factor: float
    min_timeout: float
    max_timeout: float
    randomize: bool
    out_of_memory: str | None = None


class TaskBody(Body):
    """A task of the current version, with what it did in the last 24 hours."""

    id: str
    description: str = ""
    file: str
    function: str
    executor: str
    queue: str
    queue_id: str | None = None
    retry: RetryBody
    max_duration: float | None = None
    ttl: float | None = None
    machine: str | None = None
    cron: str | None = None
    """When code declares a schedule for it."""
    running: int
    queued: int
    """How many runs wait in its queue, which other tasks may share."""
    hours: tuple[Tally, ...] = ()


class TaskPage(Body):
    """`GET /api/outlast/v1/tasks`, by id."""

    version: str | None = None
    data: tuple[TaskBody, ...]
    pagination: OffsetPagination


class TaskDetail(TaskBody):
    """`GET /api/outlast/v1/tasks/{task}`: with the JSON Schema of its payload, and its past."""

    version: str
    payload_schema: dict[str, JsonValue] | None = None
    span: Literal["hour", "day"]
    points: tuple[Tally, ...] = ()


class Spike(Body):
    """A task that did much more than in the weeks before, or tries again and again."""

    task: str
    factor: float | None = None
    """How many times the usual number of runs for this part of a week."""
    attempts_per_run: float
    keyless_share: float
    cause: Literal["retries", "keyless", "growth"]
    advice: str


class UsageBody(Body):
    """`GET /api/outlast/v1/usage`: weeks begin on Monday, in UTC; the last one goes on."""

    weeks: tuple[Moment, ...]
    data: tuple[Tally, ...]
    spikes: tuple[Spike, ...]


ErrorStatus = Literal["open", "resolved", "ignored"]


class ErrorHour(Body):
    """How often it happened in an hour."""

    hour: Moment
    count: int


class ErrorBody(Body):
    """Failures of a task that look alike; message, line and run are of the last one."""

    id: str
    task: str
    kind: str
    name: str
    message: str
    line: str | None = None
    status: ErrorStatus
    count: int
    first_seen: Moment
    last_seen: Moment
    last_run: str
    last_version: str | None = None
    hours: tuple[ErrorHour, ...] = ()


class ErrorPage(Body):
    """`GET /api/outlast/v1/errors`. `next` is the `after` of the following page."""

    data: tuple[ErrorBody, ...]
    next: str | None = None


class ErrorMark(Body):
    """`POST /api/outlast/v1/errors/{error}`: resolved ones open again when they happen again."""

    status: ErrorStatus = Field()
