"""Realtime feeds on the wire: the subset of Electric's protocol that the official clients speak."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

HANDLE: Final = "electric-handle"
OFFSET: Final = "electric-offset"
SCHEMA: Final = "electric-schema"
CURSOR: Final = "electric-cursor"
UP_TO_DATE: Final = "electric-up-to-date"

BEGINNING: Final = "-1"
"""The offset of who has seen nothing."""


_ELEMENT = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class Column(NamedTuple):
    """How the text of a column is read; `kept` ones are sent whatever a subscriber skips."""

    type: str
    kept: bool = False
    dims: int = 0


COLUMNS: Final[dict[str, Column]] = {
    "id": Column("text", kept=True),
    "taskIdentifier": Column("text", kept=True),
    "friendlyId": Column("text", kept=True),
    "status": Column("text", kept=True),
    "createdAt": Column("timestamp", kept=True),
    "updatedAt": Column("timestamp", kept=True),  # the clients' schema requires it
    "startedAt": Column("timestamp"),
    "delayUntil": Column("timestamp"),
    "queuedAt": Column("timestamp"),
    "expiredAt": Column("timestamp"),
    "completedAt": Column("timestamp"),
    "idempotencyKey": Column("text"),
    "number": Column("int4"),
    "isTest": Column("bool"),
    "usageDurationMs": Column("int4"),
    "costInCents": Column("float8"),
    "baseCostInCents": Column("float8"),
    "ttl": Column("text"),
    "payload": Column("text"),
    "payloadType": Column("text"),
    "metadata": Column("text"),
    "metadataType": Column("text"),
    "output": Column("text"),
    "outputType": Column("text"),
    "runTags": Column("text", dims=1),
    "realtimeStreams": Column("text", dims=1),
    "error": Column("jsonb"),
}


def array(texts: Iterable[str]) -> str:
    """Return texts as a PostgreSQL array literal."""
    quoted = ('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts)
    return "{" + ",".join(quoted) + "}"


def array_of(literal: str | None) -> tuple[str, ...]:
    """Return the texts of an array literal whose elements are all quoted."""
    return tuple(_ESCAPED.sub(r"\1", found) for found in _ELEMENT.findall(literal or ""))
