"""Metadata of runs: what a key names, and how large the object may be."""

import re
from typing import Final

MAX_BYTES: Final = 256 * 1024
"""Of the whole object as JSON text."""

_PART = re.compile(r"""\.([^.\[\]]+)|\[(\d{1,6})\]|\[(?:"([^"]*)"|'([^']*)')\]""")
_REFUSED = frozenset({"__proto__"})
_REFUSED_INSIDE = _REFUSED | {"constructor", "prototype"}


def path_of(key: str) -> tuple[str, ...]:
    """Return where a key points to: itself, or the parts of a path such as `$.pages[0].title`.

    Raises `ValueError` for a path that cannot be read and for names that browsers must not set.
    """
    if not key.startswith("$."):
        if key in _REFUSED:
            raise ValueError(f"{key} cannot be a key of metadata; use another name")
        return (key,)
    parts: list[str] = []
    at = 1
    while at < len(key):
        found = _PART.match(key, at)
        if found is None:
            raise ValueError(
                f"{key!r} is no path like $.pages[0].title; correct it at {key[at:]!r}"
            )
        parts.append(next(part for part in found.groups() if part is not None))
        at = found.end()
    if not _REFUSED_INSIDE.isdisjoint(parts):
        raise ValueError(f"{key!r} holds a part that cannot be a key of metadata; use another name")
    return tuple(parts)
