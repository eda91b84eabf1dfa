"""What can be triggered: a task at hand, or one known by its id only."""

from typing import Any, Generic, TypeVar

from outlast.sdk.serde import Codec

In = TypeVar("In")
Out = TypeVar("Out")


class Triggerable(Generic[In, Out]):
    """Creates runs of one task."""

    id: str
    _payload: Codec[Any]
    _output: Codec[Any]
