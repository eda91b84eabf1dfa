"""Metadata of a run: a small JSON object that shows how far it is, live in browsers.

Changes count once, however often a replay repeats them, and are sent in the background. Outside a
run they do nothing, so that code which reports progress also works without a task around it.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from outlast.protocol.messages import MetadataOperation
from outlast.sdk import runtime
from outlast.sdk.errors import UsageError
from outlast.sdk.serde import Codec
from outlast.sdk.texts import storable, storable_json

Target = Literal["self", "parent", "root"]
Operation = Literal["set", "delete", "append", "remove", "increment", "update"]

_json: Final = Codec[Any](lambda: Any, subject="value", owner="metadata", error=UsageError)


class MetadataWriter:
    """Changes the metadata of one run. Every method returns the writer, for chains."""

    __slots__ = ("_target",)

    def __init__(self, target: Target) -> None:
        self._target: Final = target

    def set(self, key: str, value: object) -> "MetadataWriter":
        """Set a key."""
        return self._operate("set", key, value)

    def del_(self, key: str) -> "MetadataWriter":
        """Remove a key."""
        return self._operate("delete", key)

    def append(self, key: str, value: object) -> "MetadataWriter":
        """Append to the list under a key, which is made when there is none."""
        return self._operate("append", key, value)

    def remove(self, key: str, value: object) -> "MetadataWriter":
        """Remove every equal element from the list under a key."""
        return self._operate("remove", key, value)

    def increment(self, key: str, amount: float = 1) -> "MetadataWriter":
        """Add to the number under a key; of many runs at once every one counts."""
        return self._operate("increment", key, _number(amount))

    def decrement(self, key: str, amount: float = 1) -> "MetadataWriter":
        """Subtract from the number under a key."""
        return self._operate("increment", key, -_number(amount))

    def replace(self, values: Mapping[str, object]) -> "MetadataWriter":
        """Replace the whole object."""
        return self._operate("update", "", dict(values))

    def _operate(self, kind: Operation, key: str, value: object = None) -> "MetadataWriter":
        storable(key, "a key of metadata")
        text = storable_json(_json.encode(value), "a value of metadata")
        run = runtime.current()
        if run is not None:
            target = self._target
            run.operate(
                lambda scope, ordinal: MetadataOperation(
                    scope=scope, ordinal=ordinal, type=kind, key=key, value=text, target=target
                )
            )
        return self


class Metadata(MetadataWriter):
    """The metadata of this run, which can be read too, and of the runs above it."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("self")

    @property
    def parent(self) -> MetadataWriter:
        """The run that triggered this one."""
        return MetadataWriter("parent")

    @property
    def root(self) -> MetadataWriter:
        """The first run of the family."""
        return MetadataWriter("root")

    def current(self) -> dict[str, object]:
        """Return the whole object as the code has left it, a copy; empty outside a run."""
        run = runtime.current()
        return {} if run is None else run.metadata()

    def get(self, key: str, default: object = None) -> object:
        """Return the value under a key."""
        return self.current().get(key, default)


metadata: Final = Metadata()
"""The metadata of the run that the calling code belongs to."""


def _number(amount: float) -> float:
    if type(amount) not in (int, float):
        raise UsageError(f"metadata is incremented by a number, not a {type(amount).__name__}")
    return amount
