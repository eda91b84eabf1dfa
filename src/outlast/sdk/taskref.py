"""A task known by its id only: the app that triggers it need not import its module."""

from functools import cached_property
from typing import Any, get_args

from outlast.sdk.errors import OutputError, PayloadError
from outlast.sdk.serde import Codec
from outlast.sdk.texts import storable
from outlast.sdk.triggerable import In, Out, Triggerable


class TaskRef(Triggerable[In, Out]):
    """`TaskRef[ExportPayload, ExportResult]("export-invoices")` triggers like the task itself.

    Without types the payload is any JSON, and so is the output.
    """

    def __init__(self, id: str) -> None:  # noqa: A002 - the word users write
        self.id = storable(id, "a task's id")
        owner = f"task {id}"
        self._payload = Codec(
            lambda: self._types[0], subject="payload", owner=owner, error=PayloadError
        )
        self._output = Codec(
            lambda: self._types[1], subject="output", owner=owner, error=OutputError
        )

    def __repr__(self) -> str:
        return f"TaskRef({self.id!r})"

    @cached_property
    def _types(self) -> tuple[Any, Any]:
        # `typing` notes the parameters on the instance, after __init__
        types = get_args(getattr(self, "__orig_class__", None))
        return (types[0], types[1]) if types else (Any, Any)
