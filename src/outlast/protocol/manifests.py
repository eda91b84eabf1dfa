"""What a worker version declares: its tasks, queues and schedules."""

from typing import Literal

import msgspec

ExecutorKind = Literal["shared", "dedicated"]


MAX_ATTEMPTS = 250
"""No run has more attempts than this."""
LEAST_DURATION = 5.0
MOST_DURATION = 2.0**31 - 1
"""Between these, in seconds, every max_duration lies."""


class RetryPolicy(msgspec.Struct, frozen=True):
    """When a failed attempt is tried again. Times in seconds.

    `out_of_memory` names the machine of the one more attempt after a lack of memory.
    """

    max_attempts: int = 3
    factor: float = 2.0
    min_timeout: float = 1.0
    max_timeout: float = 60.0
    randomize: bool = True
    out_of_memory: str | None = None


class ScheduleManifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A schedule declared in code."""

    cron: str
    timezone: str = "UTC"
    environments: tuple[str, ...] = ()  # slugs; none: all
    window: str | None = None
    catchup: Literal["latest", "all", "none"] = "latest"


class TaskManifest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One task as its version declares it."""

    id: str
    executor: ExecutorKind
    file: str
    function: str
    queue: str  # its own queue is `task/<id>`
    description: str = ""
    retry: RetryPolicy = RetryPolicy()
    max_duration: float | None = 3600.0
    ttl: float | None = None
    machine: str | None = None
    payload_schema: str | None = None  # JSON Schema text; None: anything goes
    schedule: ScheduleManifest | None = None
    on_cancel: bool = False  # a hook is to be called also when the run does not execute


class RateManifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """How often runs may start: `count` in `seconds`, `burst` of them at once."""

    count: int
    seconds: float
    burst: int = 1
    per_key: bool = True

    @property
    def interval(self) -> float:
        """Seconds from one start to the next."""
        return self.seconds / self.count


class QueueManifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """One queue as declared at module scope."""

    name: str
    concurrency_limit: int | None = None  # per lane (concurrency key)
    total_limit: int | None = None  # over all lanes
    max_queued: int | None = None  # None: the environment's
    rate: RateManifest | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a worker offers. The same digest is the same version."""

    digest: str
    tasks: tuple[TaskManifest, ...]
    queues: tuple[QueueManifest, ...]
    runtime: str  # "python 3.11.7"
    sdk: str
