"""Texts that the platform must be able to store: no U+0000, no half of a surrogate pair."""

import re

from outlast.protocol.streams import MAX_KEY, is_key
from outlast.sdk.errors import UsageError

_UNFIT = re.compile("[\0\ud800-\udfff]")
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def storable(text: str, what: str) -> str:
    """Return the text itself. Raises `UsageError`, naming `what` it is, when it cannot be stored.

    Said here, where the line of the user's code is known: past this point it would fail the run.
    """
    if (found := _UNFIT.search(text)) is not None:
        raise UsageError(
            f"{what} holds the character U+{ord(found[0]):04X}, which cannot be stored; remove it"
        )
    return text


def storable_json(text: str, what: str) -> str:
    """Return JSON text that is stored as a value, which knows no U+0000 in any spelling."""
    if "\\u0000" in text and _ESCAPED_NUL.search(text):
        raise UsageError(f"{what} holds the character U+0000, which cannot be stored; remove it")
    return storable(text, what)


def fitting(text: str, most: int, what: str) -> str:
    """Return the text itself. Raises `UsageError` when it has more than `most` bytes."""
    if len(text) * 4 > most and len(text.encode()) > most:
        raise UsageError(f"{what} is larger than {most >> 10} KB; send less at once, or a link")
    return text


def stream_key(text: str) -> str:
    """Return the text itself. Raises `UsageError` when it cannot name a stream."""
    if not is_key(text):
        raise UsageError(
            f"a stream's key has 1 to {MAX_KEY} printable characters and no slash, not {text!r}"
        )
    return text
