"""Prefixed, time-ordered ids: they sort by creation, so they are the page cursor too."""

import os
from functools import lru_cache
from typing import Literal

Prefix = Literal[
    "run",
    "batch",
    "waitpoint",
    "sched",
    "proj",
    "env",
    "session",
    "version",
    "key",
    "bulk",
    "user",
    "pat",
    "alert",
]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base32, lower case: order = time order
_TIME_CHARS = 10  # 50 bits of milliseconds: enough until the year 37,648
_RANDOM_CHARS = 16  # 80 bits
_SHIFTS = range(5 * _TIME_CHARS - 5, -1, -5)
_LONGEST = 64
_KNOWN = frozenset("0123456789abcdefghijklmnopqrstuvwxyz")
_DIGITS = bytes(ord(_ALPHABET[byte % 32]) for byte in range(256))  # a random byte as a digit


def new_id(prefix: Prefix, milliseconds: int) -> str:
    """Return ``<prefix>_<time><random>`` for a moment in milliseconds since the epoch.

    The moment comes from the database's clock, so that ids of several servers interleave.
    """
    chance = os.urandom(_RANDOM_CHARS).translate(_DIGITS).decode()
    return f"{prefix}_{_encode(milliseconds)}{chance}"


def is_id(prefix: Prefix, text: str) -> bool:
    """Return whether a text could be an id of this prefix."""
    name, _, rest = text.partition("_")
    return name == prefix and 0 < len(rest) <= _LONGEST and set(rest) <= _KNOWN


def id_floor(prefix: Prefix, milliseconds: int) -> str:
    """Return what sorts right before every id of this prefix and moment, for ranges over time."""
    return f"{prefix}_{_encode(milliseconds)}"


def id_milliseconds(identifier: str) -> int:
    """Return the moment that an id carries, in milliseconds since the epoch."""
    time_part = identifier.rpartition("_")[2][:_TIME_CHARS]
    value = 0
    for char in time_part:
        value = value * 32 + _ALPHABET.index(char)
    return value


@lru_cache(maxsize=64)  # many ids are made in one millisecond
def _encode(value: int) -> str:
    return "".join([_ALPHABET[value >> shift & 31] for shift in _SHIFTS])
