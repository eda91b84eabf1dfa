"""Values that live as long as a run does in its process: a connection, a client.

Set them in middleware, which runs at every entry into the task: they do not outlive the process.
"""

from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from outlast.sdk import runtime
from outlast.sdk.errors import UsageError

T = TypeVar("T")

_outside: ContextVar[dict[object, Any] | None] = ContextVar("outlast_locals", default=None)


class Local(Generic[T]):
    """A key of type `T`. Every run has a value of its own; outside of runs, every context has."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<Local {self.name!r}>"

    def set(self, value: T) -> T:
        """Set the value for this run, and return it."""
        _values()[self] = value
        return value

    def get(self) -> T | None:
        """Return the value, or None where it is not set."""
        value: T | None = _values().get(self)
        return value

    def require(self) -> T:
        """Return the value. Raises `UsageError` where it is not set."""
        values = _values()
        if self not in values:
            raise UsageError(
                f"the local {self.name!r} is not set; set it in a middleware, which runs at every "
                "entry into a task"
            )
        value: T = values[self]
        return value


def create(of: type[T], name: str) -> Local[T]:
    """Make a key: `db = locals.create(Database, "db")`. `of` is for type checkers."""
    del of
    return Local(name)


def _values() -> dict[object, Any]:
    run = runtime.current()
    if run is not None:
        return run.local_values
    values = _outside.get()
    if values is None:
        values = {}
        _outside.set(values)
    return values
