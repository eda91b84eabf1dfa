"""Realtime feeds on the wire: the subset of Electric's protocol that the official clients speak."""

from typing import Final, NamedTuple

HANDLE: Final = "electric-handle"
OFFSET: Final = "electric-offset"
SCHEMA: Final = "electric-schema"
CURSOR: Final = "electric-cursor"
UP_TO_DATE: Final = "electric-up-to-date"

BEGINNING: Final = "-1"
"""The offset of who has seen nothing."""


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
