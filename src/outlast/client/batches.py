"""Batches: made in two phases, first the batch, then its items as lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from outlast.client.requests import Reply, Request, model
from outlast.client.triggers import CLAIMS
from outlast.protocol.bodies import BatchBody, BatchCreated, BatchItemsReply, BatchPage
from outlast.protocol.durations import iso, whole_seconds
from outlast.protocol.triggers import Debounce, Trigger

MAX_ITEMS = 1000

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class CreateReply:
    """The batch, and what a public token of this environment has to claim."""

    batch: BatchCreated
    claims: str | None


def create(
    count: int, *, key: str | None = None, shown: str | None = None, scope: str | None = None
) -> Request[CreateReply]:
    """Return the request that makes a batch of `count` items. `key` is hashed already."""
    body: dict[str, object] = {"runCount": count}
    if key is not None:
        body["idempotencyKey"] = key
        if shown is not None:
            body["idempotencyKeyOptions"] = {"key": shown, "scope": scope or "global"}
    return Request("POST", "/api/v3/batches", _created, body=_encoder.encode(body))


def _created(reply: Reply) -> CreateReply:
    batch = BatchCreated.model_validate_json(reply.body)
    return CreateReply(batch, reply.headers.get(CLAIMS))


def send_items(batch_id: str, items: Sequence[Trigger]) -> Request[BatchItemsReply]:
    """Return the request that hands in all items. Sending it again adds nothing twice."""
    lines = [_line(index, item) for index, item in enumerate(items)]
    return Request(
        "POST",
        f"/api/v3/batches/{quote(batch_id, safe='')}/items",
        model(BatchItemsReply),
        body=b"\n".join(lines) + b"\n",
        content_type="application/x-ndjson",
    )


def list_page(*, size: int = 25, after: str | None = None) -> Request[BatchPage]:
    """Return the request for a page of batches, newest first."""
    query = [("limit", str(size))]
    if after is not None:
        query.append(("after", after))
    return Request("GET", "/api/outlast/v1/batches", model(BatchPage), query=tuple(query))


def retrieve(batch_id: str) -> Request[BatchBody]:
    """Return the request for a batch and the ids of its runs."""
    return Request("GET", f"/api/v2/batches/{quote(batch_id, safe='')}", model(BatchBody))


def _line(index: int, item: Trigger) -> bytes:
    line: dict[str, object] = {"index": index, "task": item.task, "options": options_of(item)}
    if item.payload is not None:
        line["payload"] = msgspec.Raw(item.payload.encode())
    return _encoder.encode(line)


def options_of(item: Trigger) -> dict[str, object]:
    """Return the options of a trigger, named and written as on the wire; only what is set."""
    shown = item.idempotency_key_shown
    options: dict[str, object | None] = {
        "payloadType": item.payload_type,
        "queue": item.queue and {"name": item.queue},
        "concurrencyKey": item.concurrency_key,
        "idempotencyKey": item.idempotency_key,
        "idempotencyKeyTTL": whole_seconds(item.idempotency_key_ttl),
        "idempotencyKeyOptions": shown
        and {"key": shown, "scope": item.idempotency_scope or "global"},
        "delay": iso(item.delay_until) or whole_seconds(item.delay),
        "ttl": whole_seconds(item.ttl),
        "priority": item.priority or None,
        "tags": list(item.tags) or None,
        "metadata": item.metadata and msgspec.Raw(item.metadata.encode()),
        "maxAttempts": item.max_attempts,
        "maxDuration": item.max_duration,
        "machine": item.machine,
        "debounce": item.debounce and _debounce(item.debounce),
        "fairnessGroup": item.fairness_group,
        "park": item.park or None,
        "lockToVersion": item.version,
        "test": item.is_test or None,
    }
    return {name: value for name, value in options.items() if value is not None}


def _debounce(debounce: Debounce) -> dict[str, str]:
    given = {
        "key": debounce.key,
        "delay": whole_seconds(debounce.delay),
        "mode": "trailing" if debounce.trailing else "leading",
        "maxDelay": whole_seconds(debounce.max_delay),
    }
    return {name: value for name, value in given.items() if value is not None}
