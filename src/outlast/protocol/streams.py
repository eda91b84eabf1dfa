"""Streams on the wire: chunks that runs append, and the limits that every side keeps."""

from typing import Final

import msgspec

STREAMS_PATH: Final = "/realtime/v1/streams"
DEFAULT: Final = "default"
"""The key of the stream that needs no definition."""
MAX_KEY: Final = 200
MAX_CHUNK_BYTES: Final = 512 * 1024
MAX_MESSAGE_BYTES: Final = 1024 * 1024
TARGETS: Final = ("self", "parent", "root")

PART_ID: Final = "x-part-id"
"""Header of an appended part: a repeated one counts once."""
END_COMMENT: Final = "end"
"""Comment that a read closes with when the run has ended: nothing will follow."""


def is_key(text: str) -> bool:
    """Return whether a text can name a stream: a part of a path, and of an index."""
    return 0 < len(text) <= MAX_KEY and text.isprintable() and "/" not in text


class Chunk(msgspec.Struct, frozen=True, omit_defaults=True):
    """A chunk of a stream, at a position that counts once per attempt; `data` is JSON text.

    `target` is self, parent, root or the id of another run of the environment.
    """

    scope: str
    ordinal: int
    key: str
    data: str
    target: str = "self"


class Append(msgspec.Struct, frozen=True):
    """Chunks that a run appends to streams. ACK carries `Appended`."""

    chunks: tuple[Chunk, ...]


class Appended(msgspec.Struct, frozen=True, omit_defaults=True):
    """The chunks are stored, but for those that were left out for these reasons."""

    problems: tuple[str, ...] = ()
