"""Metadata of a run: a small JSON object that shows how far it is, live in browsers.

A change counts once per attempt, however often a replay repeats it, and is sent in the background:
about each second, before every recorded step, at each suspend and at the end. Outside a run nothing
happens but a warning, so that code which reports progress also works without a task around it.
"""

import warnings
from collections.abc import Mapping
from typing import Any, Final, Literal

from outlast.protocol.messages import MetadataOperation
from outlast.protocol.metadata import path_of
from outlast.sdk import runtime
from outlast.sdk.blocking import check_blocking
from outlast.sdk.errors import OutsideRunWarning, UsageError
from outlast.sdk.serde import Codec
from outlast.sdk.texts import storable, storable_json

Target = Literal["self", "parent", "root"]
Operation = Literal["set", "delete", "append", "remove", "increment", "update"]

_json: Final = Codec[Any](lambda: Any, subject="value", owner="metadata", error=UsageError)


class MetadataWriter:
    """Changes the metadata of one run. Every change returns the writer, for chains.

    A key that begins with `$.` is a path, such as `$.pages[0].title`.
    """

    __slots__ = ("_target",)

    def __init__(self, target: Target) -> None:
        self._target: Final = target

    def set(self, key: str, value: object) -> "MetadataWriter":
        """Set a key."""
        return self._operate("set", _path(key), value)

    def delete(self, key: str) -> "MetadataWriter":
        """Remove a key."""
        return self._operate("delete", _path(key))

    def append(self, key: str, value: object) -> "MetadataWriter":
        """Append to the list under a key, which is made when there is none."""
        return self._operate("append", _path(key), value)

    def remove(self, key: str, value: object) -> "MetadataWriter":
        """Remove every equal element from the list under a key."""
        return self._operate("remove", _path(key), value)

    def increment(self, key: str, amount: float = 1) -> "MetadataWriter":
        """Add to the number under a key; of many runs at once every one counts."""
        return self._operate("increment", _path(key), _number(amount))

    def decrement(self, key: str, amount: float = 1) -> "MetadataWriter":
        """Subtract from the number under a key."""
        return self._operate("increment", _path(key), -_number(amount))

    def update(self, values: Mapping[str, object]) -> "MetadataWriter":
        """Set several keys; the others stay."""
        for key, value in values.items():
            self.set(key, value)
        return self

    def replace(self, values: Mapping[str, object]) -> "MetadataWriter":
        """Replace the whole object."""
        if not isinstance(values, Mapping):
            raise UsageError(f"metadata is an object, not a {type(values).__name__}")
        return self._operate("update", (), dict(values))

    def _operate(
        self, kind: Operation, path: tuple[str, ...], value: object = None
    ) -> "MetadataWriter":
        text = storable_json(_json.encode(value), "a value of metadata")
        run = inside("metadata")
        if run is not None:
            target = self._target
            run.operate(
                lambda scope, ordinal: MetadataOperation(
                    scope=scope, ordinal=ordinal, type=kind, path=path, value=text, target=target
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
        """The run that triggered this one; this one itself when nobody did."""
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
        """Return the value under a key. What steers the run belongs into variables or steps."""
        value: Any = self.current()
        for part in _path(key):
            if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            elif isinstance(value, dict) and part in value:
                value = value[part]
            else:
                return default
        found: object = value
        return found

    async def flush(self) -> None:
        """Wait until everything changed so far is stored."""
        if (run := inside("metadata")) is not None:
            await run.store()

    def flush_sync(self) -> None:
        """Blocking `flush`."""
        check_blocking("metadata.flush_sync()", "metadata.flush()")
        if (run := inside("metadata")) is not None:
            run.store_sync()

    async def refresh(self) -> None:
        """Read what others changed: children through `.parent`, the API."""
        if (run := inside("metadata")) is not None:
            await run.store(refresh=True)

    def refresh_sync(self) -> None:
        """Blocking `refresh`."""
        check_blocking("metadata.refresh_sync()", "metadata.refresh()")
        if (run := inside("metadata")) is not None:
            run.store_sync(refresh=True)


metadata: Final = Metadata()
"""The metadata of the run that the calling code belongs to."""


def inside(what: str) -> "runtime.Runtime | None":
    """Return the current run, or warn once per place that the call does nothing."""
    run = runtime.current()
    if run is None:
        warnings.warn(
            f"{what} outside a run changes nothing; from an app use runs.update_metadata() or "
            "runs.add_tags()",
            OutsideRunWarning,
            stacklevel=4,
        )
    return run


def _path(key: str) -> tuple[str, ...]:
    storable(key, "a key of metadata")
    try:
        return path_of(key)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _number(amount: float) -> float:
    if type(amount) not in (int, float):
        raise UsageError(f"metadata is incremented by a number, not a {type(amount).__name__}")
    return amount
