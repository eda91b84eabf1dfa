"""Bodies of the routes of queues. Where the contract wants null, an absent value is null."""

from typing import Literal

from pydantic import Field

from outlast.protocol.body import Body, Moment, OffsetPagination

QueueType = Literal["id", "task", "custom"]


class Nullable(Body):
    """A body whose absent values are null on the wire."""

    shows_null = True


class QueueConcurrency(Nullable):
    """Where the limit of a queue comes from."""

    current: int | None
    base: int | None
    override: int | None
    overridden_at: Moment | None
    overridden_by: str | None


class QueueRate(Nullable):
    """How often runs may start: one per `interval` seconds, `burst` of them at once."""

    interval: float
    burst: int
    per: Literal["key", "queue"]


class QueueBody(Nullable):
    """A queue. The name of a task's own queue is the task's id."""

    id: str
    name: str
    type: Literal["task", "custom"]
    running: int
    queued: int
    paused: bool
    concurrency_limit: int | None
    concurrency: QueueConcurrency
    total_limit: int | None
    max_queued: int | None
    rate: QueueRate | None


class QueuePage(Nullable):
    """`GET /api/v1/queues`, by name."""

    data: tuple[QueueBody, ...]
    pagination: OffsetPagination


class QueueChange(Body):
    """Which queue a change is for."""

    type: QueueType = "id"


class QueuePause(QueueChange):
    """`POST /api/v1/queues/{queue}/pause`."""

    action: Literal["pause", "resume"]


class QueueOverride(QueueChange):
    """`POST /api/v1/queues/{queue}/concurrency/override`."""

    concurrency_limit: int = Field(ge=0, le=100_000)


class QueuePoint(Nullable):
    """A queue in one minute. Depths are the highest seen, delays are in seconds."""

    at: Moment
    queued: int
    running: int
    started: int
    delayP95: float | None  # noqa: N815 - its name on the wire


class QueueMetrics(Nullable):
    """`GET /api/outlast/v1/queues/{queue}/metrics`. Waits and delays are in seconds.

    A delay is the time from when a run might have started until it did, within 25 %.
    """

    running: int
    queued: int
    oldest_wait: float | None
    started: int
    delayP50: float | None  # noqa: N815 - its name on the wire
    delayP95: float | None  # noqa: N815 - its name on the wire
    points: tuple[QueuePoint, ...]


class QueueKey(Nullable):
    """One concurrency key of a queue; '' stands for the runs without one."""

    key: str
    fairness_group: str | None
    queued: int
    running: int
    oldest_wait: float | None


class QueueKeys(Nullable):
    """`GET /api/outlast/v1/queues/{queue}/keys`. `next` is the `after` of the following page."""

    data: tuple[QueueKey, ...]
    next: str | None


class EnvironmentStand(Nullable):
    """An environment's limits, and what counts towards them.

    Ended runs are deleted after `retention_days`; null: never. Their logs and streams go before
    them, or with them where their days are null.
    """

    id: str
    paused: bool
    concurrency_limit: int
    burst_factor: float
    running: int
    queued: int
    retention_days: int | None = None
    log_retention_days: int | None = None
    stream_retention_days: int | None = None


class EnvironmentChange(Body):
    """`POST /api/outlast/v1/environment/limits`: what is not given stays as it is.

    `retention_days` as null keeps ended runs for ever; the others as null keep logs and streams as
    long as their runs.
    """

    paused: bool | None = None
    concurrency_limit: int | None = Field(default=None, ge=0, le=1_000_000)
    burst_factor: float | None = Field(default=None, ge=1, le=10)
    retention_days: int | None = Field(default=None, ge=1, le=3_650)
    log_retention_days: int | None = Field(default=None, ge=1, le=3_650)
    stream_retention_days: int | None = Field(default=None, ge=1, le=3_650)


class KeyReset(Body):
    """`POST /api/v1/idempotencyKeys/{key}/reset`. The key is the hash."""

    task_identifier: str = Field(min_length=1, max_length=512)
