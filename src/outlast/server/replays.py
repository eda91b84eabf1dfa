"""Reading a replay: what the new run has otherwise than the one it repeats."""

from collections.abc import Mapping

import msgspec
from pydantic import ValidationError

from outlast.protocol.bulk import ReplayBody
from outlast.protocol.nesting import MAX_DEPTH, is_too_deep
from outlast.protocol.triggers import Trigger
from outlast.server.intake import Envelope, decode, make_trigger
from outlast.server.problems import Problem, invalid

_bodies = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder = msgspec.json.Encoder()

_FIELDS: dict[str, tuple[str, ...]] = {
    "payload": ("payload", "payload_type"),
    "payloadType": ("payload_type",),
    "metadata": ("metadata",),
    "tags": ("tags",),
    "queue": ("queue",),
    "concurrencyKey": ("concurrency_key",),
    "machine": ("machine",),
    "version": ("version",),
    "region": (),
    "delay": ("delay", "delay_until"),
    "ttl": ("ttl",),
    "idempotencyKey": ("idempotency_key", "idempotency_key_shown"),
    "idempotencyKeyTTL": ("idempotency_key_ttl",),
    "maxAttempts": ("max_attempts",),
    "maxDuration": ("max_duration",),
    "priority": ("priority",),
    "test": ("is_test",),
}
"""Fields of the body, and those of the trigger that each decides."""


def read_replay(original: Trigger, body: bytes, headers: Mapping[str, str]) -> Trigger:
    """Return the trigger of a replay: the original with what the body names. Raises `Problem`."""
    given = _given(body)
    options = {
        "lockToVersion" if name == "version" else name: value
        for name, value in given.items()
        if name not in {"payload", "region"}
    }
    payload = given.get("payload", msgspec.Raw(b""))
    wanted = make_trigger(
        original.task, Envelope(payload, msgspec.Raw(_encoder.encode(options))), headers
    )
    changes = {field: getattr(wanted, field) for name in given for field in _FIELDS[name]}
    return msgspec.structs.replace(
        original,
        **changes,
        request_key=wanted.request_key,
        trace_context=wanted.trace_context,
    )


def _given(body: bytes) -> dict[str, msgspec.Raw]:
    """Return the fields that the body names, each still encoded and known to have its form."""
    if not body.strip():
        return {}
    if is_too_deep(body):
        raise Problem(400, "too_deep", f"the body is nested deeper than {MAX_DEPTH} levels")
    found: dict[str, msgspec.Raw] = decode(_bodies, body)
    try:
        ReplayBody.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None
    return {name: raw for name, raw in found.items() if bytes(raw) != b"null" or name == "payload"}
