"""Schedules on the wire, and what a scheduled run receives."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from outlast.protocol.body import Body, Moment, OffsetPagination

SCHEDULES_PATH = "/api/v1/schedules"
UPCOMING = 5
"""How many coming ticks a payload names."""

Catchup = Literal["latest", "all", "none"]
"""What follows an outage: one late tick, each that was missed, or none of them."""


class ScheduledPayload(BaseModel):
    """The payload of a scheduled run. Moments are in UTC and nominal: no window is in them."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    schedule_id: str
    type: Literal["DECLARATIVE", "IMPERATIVE"]
    timestamp: AwareDatetime
    last_timestamp: AwareDatetime | None = None
    external_id: str | None = None
    timezone: str = "UTC"
    upcoming: tuple[AwareDatetime, ...] = ()


TICK = ScheduledPayload(
    schedule_id="sched_1",
    type="DECLARATIVE",
    timestamp=datetime(2030, 1, 1, tzinfo=UTC),
    last_timestamp=datetime(2029, 12, 31, tzinfo=UTC),
    upcoming=(datetime(2030, 1, 2, tzinfo=UTC),),
)
"""What a tick looks like: a task that starts by the clock has to take it."""


class SchedulePlan(Body):
    """`PUT /api/v1/schedules/{id}`: what a schedule starts, and when."""

    task: str = Field(max_length=512)
    cron: str = Field(max_length=200)
    timezone: str | None = Field(default=None, max_length=100)
    external_id: str | None = Field(default=None, max_length=512)
    window: str | None = Field(default=None, max_length=20)
    catchup: Catchup | None = None
    concurrency_key: str | None = Field(default=None, max_length=512)


class ScheduleCreate(SchedulePlan):
    """`POST /api/v1/schedules`: the same deduplication key changes the schedule there is."""

    deduplication_key: str = Field(max_length=512)


class Generator(Body):
    """What makes the ticks, in the pattern's words and in plain ones."""

    type: Literal["CRON"] = "CRON"
    expression: str
    description: str


class ScheduleEnvironment(Body):
    """Where a schedule fires."""

    id: str
    type: Literal["DEVELOPMENT", "STAGING", "PREVIEW", "PRODUCTION"]


class ScheduleBody(Body):
    """One schedule. `next_run` is nominal, `next_run_effective_at` has its share of the window."""

    id: str
    type: Literal["DECLARATIVE", "IMPERATIVE"]
    task: str
    active: bool
    deduplication_key: str | None = None
    external_id: str | None = None
    concurrency_key: str | None = None
    generator: Generator
    timezone: str
    window: str | None = None
    catchup: Catchup
    next_run: Moment | None = None
    next_run_effective_at: Moment | None = None
    upcoming: tuple[Moment, ...] = ()
    last_run: Moment | None = None
    last_skip: str | None = None
    environments: tuple[ScheduleEnvironment, ...]


class ScheduleListPage(Body):
    """`GET /api/v1/schedules`."""

    data: tuple[ScheduleBody, ...]
    pagination: OffsetPagination


class Timezones(Body):
    """`GET /api/v1/timezones`."""

    timezones: tuple[str, ...]
