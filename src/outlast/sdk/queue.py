"""Queues, declared at module scope and synced with the version that declares them."""

import re

from outlast.protocol.manifests import QueueManifest
from outlast.sdk.errors import UsageError
from outlast.sdk.registry import registry

_NAME = re.compile(r"[A-Za-z0-9_/-]{1,122}")


class Queue:
    """A named queue.

    `concurrency_limit` counts executing runs per concurrency key, `total_limit` over all of them.
    Without a name it is the own queue of the one task it is given to.
    """

    __slots__ = ("concurrency_limit", "name", "total_limit")

    def __init__(
        self,
        name: str | None = None,
        *,
        concurrency_limit: int | None = None,
        total_limit: int | None = None,
    ) -> None:
        if name is not None and (not _NAME.fullmatch(name) or name.startswith("task/")):
            raise UsageError(
                f"queue name {name!r} must be 1 to 122 letters, digits, '-', '_' or '/', "
                "and must not begin with 'task/'"
            )
        for option, limit in (
            ("concurrency_limit", concurrency_limit),
            ("total_limit", total_limit),
        ):
            if limit is not None and limit < 0:
                raise UsageError(f"{option} of queue {name!r} must not be negative: {limit}")
        self.name = name
        self.concurrency_limit = concurrency_limit
        self.total_limit = total_limit
        if name is not None:
            registry.add_queue(self.manifest())

    def __repr__(self) -> str:
        limits = f"concurrency_limit={self.concurrency_limit}, total_limit={self.total_limit}"
        return f"Queue({self.name!r}, {limits})"

    def owned_by(self, task_id: str) -> "Queue":
        """Return a queue without a name as the own queue of a task."""
        own = Queue(concurrency_limit=self.concurrency_limit, total_limit=self.total_limit)
        own.name = f"task/{task_id}"
        return own

    def manifest(self) -> QueueManifest:
        """Return the declaration as data."""
        return QueueManifest(self.name or "", self.concurrency_limit, self.total_limit)
