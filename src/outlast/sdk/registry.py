"""The tasks, queues and hooks that importing modules has declared in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from outlast.protocol.manifests import QueueManifest
from outlast.sdk.errors import UsageError
from outlast.sdk.hooks import Hooks

if TYPE_CHECKING:
    from outlast.sdk.task import Task


class Registry:
    """Everything declared, by id. Decorators and `Queue` fill it as modules are imported."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task[Any, Any]] = {}
        self.queues: dict[str, QueueManifest] = {}
        self.hooks = Hooks("tasks")
        """The hooks of every task."""

    def add_task(self, task: "Task[Any, Any]") -> None:
        """Take a task in. Raises `UsageError` when its id is taken."""
        known = self.tasks.get(task.id)
        if known is not None:
            raise UsageError(
                f"two tasks have the id {task.id!r}: {known.place} and {task.place}; "
                "give one of them another id"
            )
        self.tasks[task.id] = task

    def add_queue(self, queue: QueueManifest) -> None:
        """Take a queue in. The same declaration twice is fine, another one is a `UsageError`."""
        known = self.queues.setdefault(queue.name, queue)
        if known != queue:
            raise UsageError(
                f"queue {queue.name!r} is declared twice with different limits: {_limits(known)} "
                f"and {_limits(queue)}; declare it once and import it"
            )

    @contextmanager
    def isolated(self) -> Iterator[None]:
        """Begin empty inside a `with` block; afterwards what was declared before is back."""
        tasks, queues, hooks = self.tasks, self.queues, self.hooks
        self.tasks, self.queues, self.hooks = {}, {}, Hooks("tasks")
        try:
            yield
        finally:
            self.tasks, self.queues, self.hooks = tasks, queues, hooks


def _limits(queue: QueueManifest) -> str:
    return f"(concurrency_limit={queue.concurrency_limit}, total_limit={queue.total_limit})"


registry = Registry()
"""The one registry of the process."""
