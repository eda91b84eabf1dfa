"""Bodies of what is changed from outside: metadata and tags of runs."""

from typing import Literal

from pydantic import JsonValue

from outlast.protocol.body import Body


class MetadataChange(Body):
    """One operation on metadata; a key that begins with `$.` is a path."""

    type: Literal["set", "delete", "append", "remove", "increment", "update"]
    key: str | None = None
    value: JsonValue = None


class MetadataChanges(Body):
    """`PUT /api/v1/runs/{id}/metadata`: the whole object, operations in order, or both."""

    metadata: dict[str, JsonValue] | None = None
    operations: tuple[MetadataChange, ...] = ()
    parent_operations: tuple[MetadataChange, ...] = ()
    root_operations: tuple[MetadataChange, ...] = ()


class TagsBody(Body):
    """`POST /api/v1/runs/{id}/tags`."""

    tags: str | tuple[str, ...]


class TagsReply(Body):
    """What became of it, for people."""

    message: str
