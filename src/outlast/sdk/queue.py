"""Queues, declared at module scope and synced with the version that declares them."""

import re
from typing import Final, Literal

from outlast.protocol.manifests import QueueManifest, RateManifest
from outlast.sdk.errors import UsageError
from outlast.sdk.registry import registry

MAX_LIMIT: Final = 100_000
MAX_QUEUED: Final = 2**31 - 1
_NAME = re.compile(r"[A-Za-z0-9_/-]{1,122}")
_KEPT = ("task/", "outlast/")
_RATE = re.compile(r"(\d{1,9})\s*/\s*(\d{0,9})\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


class Queue:
    """A named queue.

    `concurrency_limit` counts executing runs per concurrency key, `total_limit` over all of them;
    without them the environment's limit counts. `max_queued` runs may wait, further triggers are
    refused. `rate` ("100/m") bounds how often runs start, per concurrency key or for the whole
    queue; `burst` of them may start at once. Without a name it is the own queue of the one task it
    is given to.
    """

    __slots__ = ("concurrency_limit", "max_queued", "name", "rate", "total_limit")

    def __init__(
        self,
        name: str | None = None,
        *,
        concurrency_limit: int | None = None,
        total_limit: int | None = None,
        max_queued: int | None = None,
        rate: str | None = None,
        burst: int = 1,
        rate_per: Literal["key", "queue"] = "key",
    ) -> None:
        if name is not None and (not _NAME.fullmatch(name) or name.startswith(_KEPT)):
            raise UsageError(
                f"queue name {name!r} must be 1 to 122 letters, digits, '-', '_' or '/', "
                "and must not begin with 'task/' or 'outlast/'"
            )
        for option, limit, most in (
            ("concurrency_limit", concurrency_limit, MAX_LIMIT),
            ("total_limit", total_limit, MAX_LIMIT),
            ("max_queued", max_queued, MAX_QUEUED),
        ):
            if limit is not None and not 0 <= limit <= most:
                raise UsageError(f"{option} of queue {name!r} must be 0 to {most:,}, not {limit}")
        self.name = name
        self.concurrency_limit: Final = concurrency_limit
        self.total_limit: Final = total_limit
        self.max_queued: Final = max_queued
        self.rate: Final = _rate(name, rate, burst, rate_per)
        if name is not None:
            registry.add_queue(self.manifest())

    def __repr__(self) -> str:
        limits = f"concurrency_limit={self.concurrency_limit}, total_limit={self.total_limit}"
        return f"Queue({self.name!r}, {limits})"

    def owned_by(self, task_id: str) -> "Queue":
        """Return a queue without a name as the own queue of a task."""
        own = object.__new__(Queue)
        for slot in Queue.__slots__:
            object.__setattr__(own, slot, getattr(self, slot))
        own.name = f"task/{task_id}"
        return own

    def manifest(self) -> QueueManifest:
        """Return the declaration as data."""
        return QueueManifest(
            self.name or "",
            self.concurrency_limit,
            self.total_limit,
            self.max_queued,
            self.rate,
        )


def _rate(name: str | None, text: str | None, burst: int, per: str) -> RateManifest | None:
    if per not in ("key", "queue"):
        raise UsageError(f"rate_per of queue {name!r} is 'key' or 'queue', not {per!r}")
    if text is None:
        if burst != 1:
            raise UsageError(f"queue {name!r} has a burst but no rate; add rate='100/m'")
        return None
    found = _RATE.fullmatch(text.strip())
    count = int(found[1]) if found else 0
    seconds = int(found[2] or 1) * _SECONDS[found[3]] if found else 0.0
    if count < 1 or seconds <= 0:
        raise UsageError(
            f"rate of queue {name!r} is {text!r}; write starts per time, as '100/m' or '5/10s'"
        )
    if burst < 1:
        raise UsageError(f"burst of queue {name!r} must be at least 1, not {burst}")
    return RateManifest(count, seconds, burst, per == "key")
