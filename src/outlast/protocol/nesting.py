"""How deep JSON may nest, judged without parsing it: parsers recurse, and stacks end."""

import re

MAX_DEPTH = 100
"""Deepest nesting of JSON that is taken in."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def is_too_deep(data: bytes) -> bool:
    """Return whether JSON is nested deeper than the limit, in time linear to its size.

    Works from the inside out: each round removes the innermost brackets. Says nothing about
    whether the data is JSON at all.
    """
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return False
    rest = _STRING.sub(b"", data).translate(_BRACKETS, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        if not rest:
            return False
        rest = rest.replace(b"[]", b"")
    return bool(rest)
