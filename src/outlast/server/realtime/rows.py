"""A run as a realtime row: texts and nulls, named and typed as the official clients parse them."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

import msgspec

from outlast.engine.changes import LiveRun
from outlast.engine.payloads import JSON
from outlast.protocol.durations import whole_seconds
from outlast.protocol.outcomes import RunError
from outlast.protocol.realtime import COLUMNS, array
from outlast.protocol.results import form_of
from outlast.protocol.statuses import NAMES, Status

_errors = msgspec.json.Decoder(RunError)
_encoder = msgspec.json.Encoder()

_NOT_YET_QUEUED = frozenset({Status.DELAYED, Status.PENDING_VERSION})

UP_TO_DATE = {"headers": {"control": "up-to-date"}}
MUST_REFETCH = {"headers": {"control": "must-refetch"}}


def schema(skipped: Collection[str]) -> str:
    """Return the header that tells how each column is parsed."""
    return _encoder.encode(
        {
            name: {"type": column.type, **({"dims": column.dims} if column.dims else {})}
            for name, column in COLUMNS.items()
            if name not in skipped
        }
    ).decode()


def body(runs: Iterable[LiveRun], skipped: Collection[str], known: Collection[str]) -> bytes:
    """Return whole rows of runs, as updates of what is known, and the word that this is all."""
    messages: list[object] = [
        {
            "key": f'"public"."TaskRun"/"{_row_id(run.id)}"',
            "value": {name: value for name, value in row(run).items() if name not in skipped},
            "headers": {"operation": "update" if run.id in known else "insert"},
        }
        for run in runs
    ]
    return _encoder.encode([*messages, UP_TO_DATE])


def row(run: LiveRun) -> dict[str, str | None]:
    """Return every column of a run."""
    status = Status(run.status)
    expired = status is Status.EXPIRED
    queued_at = max(run.created_at, run.delay_until or run.created_at)
    return {
        "id": _row_id(run.id),
        "taskIdentifier": run.task,
        "friendlyId": run.id,
        "status": NAMES[status].realtime,
        "createdAt": _moment(run.created_at),
        "updatedAt": _moment(run.updated_at),
        "startedAt": _moment(run.started_at),
        "delayUntil": _moment(run.delay_until),
        "queuedAt": None if status in _NOT_YET_QUEUED else _moment(queued_at),
        "expiredAt": _moment(run.finished_at) if expired else None,
        "completedAt": _moment(run.finished_at),
        "idempotencyKey": run.idempotency_key,
        "number": "0",
        "isTest": "t" if run.is_test else "f",
        "usageDurationMs": str(round(run.active_seconds * 1000)),
        "costInCents": "0",
        "baseCostInCents": "0",
        "ttl": whole_seconds(run.ttl) if run.ttl else None,
        "payload": run.payload,
        "payloadType": run.payload_type,
        "metadata": run.metadata,
        "metadataType": JSON,
        "output": run.output,
        "outputType": JSON,
        "runTags": array(run.tags),
        "realtimeStreams": array(run.streams),
        "error": None
        if run.error is None
        else form_of(_errors.decode(run.error)).to_json().decode(),
    }


def _row_id(run: str) -> str:
    """Return the inner id, to which the one that users see is related by its prefix."""
    return run.partition("_")[2]


def _moment(moment: datetime | None) -> str | None:
    """Return a moment without a zone: the clients append the `Z`."""
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
