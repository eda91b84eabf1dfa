"""Metadata operations on the copy that a run reads, as the server applies them to its own."""

import json
from typing import Any

from outlast.protocol.messages import MetadataOperation

_MISSING: Any = object()


def amend(metadata: dict[str, Any], operation: MetadataOperation) -> dict[str, Any]:
    """Return the metadata after an operation; what did not change is shared with the old."""
    value = json.loads(operation.value)
    path = operation.path
    held = _at(metadata, path)
    match operation.type:
        case "set":
            changed = _placed(metadata, path, value)
        case "delete":
            changed = _without(metadata, path)
        case "append":
            if held is _MISSING:
                held = []
            before = held if isinstance(held, list) else [held]
            changed = _placed(metadata, path, [*before, value])
        case "remove" if isinstance(held, list):
            changed = _placed(metadata, path, [each for each in held if not _same(each, value)])
        case "increment":
            is_number = isinstance(held, int | float) and not isinstance(held, bool)
            changed = _placed(metadata, path, (held if is_number else 0) + value)
        case "update":
            changed = value
        case _:
            changed = metadata
    return changed if isinstance(changed, dict) else metadata


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return _MISSING
    return value


def _placed(value: Any, path: tuple[str, ...], fresh: Any) -> Any:
    """Return a value with another one put at a path; objects on the way are made."""
    if not path:
        return fresh
    part, rest = path[0], path[1:]
    if isinstance(value, list) and part.isdecimal():
        index = int(part)
        inner = value[index] if index < len(value) else None
        return [*value[:index], _placed(inner, rest, fresh), *value[index + 1 :]]
    inside = value if isinstance(value, dict) else {}
    return {**inside, part: _placed(inside.get(part), rest, fresh)}


def _without(value: Any, path: tuple[str, ...]) -> Any:
    part, rest = path[0], path[1:]
    if isinstance(value, dict) and part in value:
        if rest:
            return {**value, part: _without(value[part], rest)}
        return {key: each for key, each in value.items() if key != part}
    if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
        index = int(part)
        inner = [_without(value[index], rest)] if rest else []
        return [*value[:index], *inner, *value[index + 1 :]]
    return value


def _same(one: Any, other: Any) -> bool:
    """Say whether two JSON values are equal; unlike in Python, true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
