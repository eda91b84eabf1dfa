"""Bodies of bulk actions and replays, named as on the wire."""

from typing import Literal

from pydantic import ConfigDict, Field, JsonValue

from outlast.protocol.bodies import Machine, QueueOption
from outlast.protocol.body import Body, Exact, Moment, Pagination

Several = str | tuple[str, ...]


class BulkFilter(Body):
    """Which runs an action takes: the fields of a list's filter by their plain names.

    Unknown fields are refused: an action over more runs than meant cannot be taken back.
    """

    model_config = ConfigDict(extra="forbid")

    status: Several | None = None
    task_identifier: Several | None = None
    version: Several | None = None
    tag: Several | None = None
    queue: Several | None = None
    machine: Several | None = None
    region: Several | None = None
    batch: str | None = None
    bulk_action: str | None = None
    schedule: str | None = None
    error: str | None = None
    replay_of: str | None = None
    parent: str | None = None
    root_only: bool | None = None
    is_test: bool | None = None
    from_: str | int | None = Field(default=None, alias="from")
    to: str | int | None = None
    period: str | None = None


class BulkCreate(Body):
    """`POST /api/v1/bulk-actions`: a filter or run ids, exactly one of them."""

    action: Literal["cancel", "replay"]
    filter: BulkFilter | None = None
    run_ids: tuple[str, ...] | None = None
    name: str | None = Field(default=None, max_length=200)
    target_region: str | None = None


class BulkCounts(Body):
    """How far an action is."""

    total: int
    success: int
    failure: int


class BulkBody(Body):
    """`GET /api/v1/bulk-actions/{id}`."""

    id: str
    name: str | None = None
    type: Literal["CANCEL", "REPLAY"]
    status: Literal["PENDING", "COMPLETED", "ABORTED"]
    counts: BulkCounts
    created_at: Moment
    completed_at: Moment | None = None


class BulkPage(Body):
    """`GET /api/v1/bulk-actions`, newest first."""

    data: tuple[BulkBody, ...]
    pagination: Pagination


class ReplayBody(Body):
    """`POST /api/v1/runs/{id}/replay`: what the new run has otherwise than the old one."""

    model_config = ConfigDict(extra="forbid")

    payload: JsonValue = None
    payload_type: str | None = None
    metadata: dict[str, JsonValue] | str | None = None
    tags: str | tuple[str, ...] | None = None
    queue: QueueOption | str | None = None
    concurrency_key: str | int | float | None = None
    machine: Machine | None = None
    version: str | None = None
    region: str | None = None
    delay: str | None = None
    ttl: str | Exact | None = None
    idempotency_key: str | None = None
    idempotency_key_ttl: str | None = Field(default=None, alias="idempotencyKeyTTL")
    max_attempts: int | None = None
    max_duration: float | None = None
    priority: float | None = None
    test: bool | None = None


class RescheduleBody(Body):
    """`POST /api/v1/runs/{id}/reschedule`: a duration such as 1h30m, or a moment."""

    delay: str = Field(min_length=1)
