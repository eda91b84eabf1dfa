"""Taking triggers in: from what a client sends to a `Trigger`, every option checked on the way.

The payload is cut out of the body as text and never parsed here.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

import msgspec
from pydantic import ValidationError

from outlast.protocol.bodies import QueueOption, TriggerOptions
from outlast.protocol.durations import parse_duration
from outlast.protocol.triggers import Trigger
from outlast.server.gate import MAX_DEPTH, MAX_PAYLOAD_BYTES, too_deep
from outlast.server.problems import Problem, invalid

MAX_METADATA_BYTES = 256 * 1024
MAX_TAGS = 10
MAX_TAG_CHARS = 128
MAX_TASK_CHARS = 512
MAX_KEY_CHARS = 512

JSON = "application/json"
SUPER_JSON = "application/super+json"
TEXT = "text/plain"

_Envelope = TypeVar("_Envelope", bound=msgspec.Struct)

_HASHED = re.compile(r"[0-9a-f]{64}")
_KEY_TTL = re.compile(r"\d{1,9}[smhd]")
_OPAQUE = msgspec.Raw(b"")
_ASIDE = ("debounce", "gates", "concurrency", "external_deployment_id")


class Envelope(msgspec.Struct, frozen=True):
    """A trigger body with its parts still encoded."""

    payload: msgspec.Raw = _OPAQUE
    options: msgspec.Raw = _OPAQUE


class ItemEnvelope(Envelope, frozen=True, kw_only=True):
    """A line of a batch, likewise."""

    index: int
    task: str


_envelopes = msgspec.json.Decoder(Envelope)
_items = msgspec.json.Decoder(ItemEnvelope)
_text = msgspec.json.Decoder(str)


def read_trigger(task: str, body: bytes, headers: Mapping[str, str]) -> Trigger:
    """Return what a trigger request asks for. Raises `Problem`."""
    if not body:
        raise Problem(400, "empty_body", "Request body is empty")
    return make_trigger(task, decode(_envelopes, body), headers)


def read_item(line: bytes) -> ItemEnvelope:
    """Return one line of a batch, its options not looked at yet. Raises `Problem`."""
    if too_deep(line):
        raise Problem(400, "too_deep", f"the item is nested deeper than {MAX_DEPTH} levels")
    return decode(_items, line)


def make_trigger(task: str, envelope: Envelope, headers: Mapping[str, str]) -> Trigger:
    """Return the trigger of an envelope, for the task of this id. Raises `Problem`."""
    if not 0 < len(task) <= MAX_TASK_CHARS or "\0" in task:
        raise _wrong("task", f"a task id has 1 to {MAX_TASK_CHARS} characters")
    options = _options(envelope.options)
    _refuse_unsupported(options)
    payload_type, payload = _payload(envelope.payload, options.payload_type)
    delay, delay_until = _delay(options.delay)
    key = options.idempotency_key or headers.get("idempotency-key")
    key_ttl = options.idempotency_key_ttl or headers.get("idempotency-key-ttl")
    shown = options.idempotency_key_options
    return Trigger(
        task=task,
        payload=payload,
        payload_type=payload_type,
        queue=_queue(options.queue),
        concurrency_key=_concurrency_key(options.concurrency_key),
        idempotency_key=_hashed(key),
        idempotency_key_ttl=_key_ttl(key_ttl),
        idempotency_key_shown=shown.key if shown is not None else key,
        idempotency_scope=shown.scope if shown is not None else None,
        request_key=headers.get("x-trigger-request-idempotency-key") or None,
        delay=delay,
        delay_until=delay_until,
        ttl=_ttl(options.ttl),
        priority=options.priority or 0.0,
        tags=check_tags(options.tags),
        metadata=_metadata(options),
        max_attempts=options.max_attempts,
        max_duration=options.max_duration,
        machine=options.machine,
        version=options.lock_to_version,
        is_test=options.test,
        trace_context=headers.get("traceparent"),
    )


def check_trigger(trigger: Trigger) -> None:
    """Hold a trigger that arrived as a whole to the same limits. Raises `Problem`."""
    if not 0 < len(trigger.task) <= MAX_TASK_CHARS or "\0" in trigger.task:
        raise _wrong("task", f"a task id has 1 to {MAX_TASK_CHARS} characters")
    _check_payload(trigger.payload_type, trigger.payload)
    check_tags(trigger.tags)
    _concurrency_key(trigger.concurrency_key)
    if trigger.idempotency_key is not None and not _HASHED.fullmatch(trigger.idempotency_key):
        raise _wrong("idempotencyKey", "an idempotency key is 64 hexadecimal characters")
    if trigger.metadata is not None:
        _check_metadata(trigger.metadata)


def decode(decoder: "msgspec.json.Decoder[_Envelope]", body: bytes) -> _Envelope:
    """Decode JSON into an envelope; the problem says where it does not fit. Raises `Problem`."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Problem(400, "invalid_request", str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Problem(400, "invalid_json", "Invalid JSON") from None


def _options(raw: msgspec.Raw) -> TriggerOptions:
    text = bytes(raw)
    if not text or text == b"null":
        return TriggerOptions()
    try:
        return TriggerOptions.model_validate_json(text)
    except ValidationError as error:
        raise invalid(error, what="options") from None


def _refuse_unsupported(options: TriggerOptions) -> None:
    """Say no to what would be silently ignored otherwise."""
    for name in _ASIDE:
        if getattr(options, name):
            raise _wrong(name, f"{name} is not supported by this server")
    if options.resume_parent_on_completion:
        raise _wrong(
            "resumeParentOnCompletion", "a run waits for its children over its worker, not by HTTP"
        )
    if isinstance(options.queue, QueueOption) and options.queue.concurrency_limit is not None:
        raise _wrong(
            "queue",
            "a concurrency limit cannot be given at trigger time; declare it on the queue and use "
            "concurrencyKey to give each tenant a lane of its own",
        )


def _payload(raw: msgspec.Raw, given: str | None) -> tuple[str, str | None]:
    payload_type = given or JSON
    data = bytes(raw)
    if not data:
        payload = None
    elif payload_type == JSON or not data.startswith(b'"'):
        payload = data.decode()
        payload_type = JSON if payload_type == TEXT else payload_type
    else:
        payload = _text.decode(data)
    _check_payload(payload_type, payload)
    return payload_type, payload


def _check_payload(payload_type: str, payload: str | None) -> None:
    if payload_type not in {JSON, SUPER_JSON, TEXT}:
        raise _wrong("payloadType", "payloadType must be application/json, super+json or text")
    if payload is None:
        return
    data = payload.encode(errors="surrogatepass")
    if len(data) > MAX_PAYLOAD_BYTES:
        raise Problem(413, "too_large", "the payload is larger than 3 MB", param="payload")
    if b"\0" in data:
        raise _wrong("payload", "a payload cannot hold the character U+0000")
    if payload_type != TEXT and too_deep(data):
        raise Problem(
            400,
            "too_deep",
            f"the payload is nested deeper than {MAX_DEPTH} levels",
            param="payload",
        )


def _delay(text: str | None) -> tuple[float | None, float | None]:
    """Return seconds or a moment; a past moment means now, which the engine knows best."""
    if not text:
        return None, None
    seconds = parse_duration(text)
    if seconds is not None:
        return seconds, None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _wrong("delay", "delay must be a duration such as 1h30m or an ISO date with a zone")
    return None, moment.timestamp()


def _ttl(value: str | int | None) -> float | None:
    if value is None:
        return None
    seconds = float(value) if isinstance(value, int) else parse_duration(value)
    if seconds is None or seconds < 0:
        raise _wrong("ttl", "ttl must be a duration such as 10m or a number of whole seconds")
    return seconds


def _key_ttl(text: str | None) -> float | None:
    if not text:
        return None
    seconds = parse_duration(text) if _KEY_TTL.fullmatch(text) else None
    if seconds is None:
        raise _wrong("idempotencyKeyTTL", "idempotencyKeyTTL must be a duration such as 60s or 7d")
    return seconds


def _hashed(key: str | None) -> str | None:
    """Return the key as clients of the platform send it: 64 hexadecimal characters."""
    if not key:
        return None
    return key if _HASHED.fullmatch(key) else hashlib.sha256(key.encode()).hexdigest()


def _queue(option: QueueOption | str | None) -> str | None:
    return option.name if isinstance(option, QueueOption) else option


def _concurrency_key(value: str | float | None) -> str | None:
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    key = str(value)
    if len(key) > MAX_KEY_CHARS or "\0" in key:
        raise _wrong("concurrencyKey", f"a concurrency key has up to {MAX_KEY_CHARS} characters")
    return key


def check_tags(tags: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the tags, each once, in order. Raises `Problem`."""
    given = (tags,) if isinstance(tags, str) else tags or ()
    unique = tuple(dict.fromkeys(given))
    if len(unique) > MAX_TAGS:
        raise _wrong("tags", f"a run has at most {MAX_TAGS} tags")
    if any(not 0 < len(tag) <= MAX_TAG_CHARS or "\0" in tag for tag in unique):
        raise _wrong("tags", f"a tag has 1 to {MAX_TAG_CHARS} characters")
    return unique


def _metadata(options: TriggerOptions) -> str | None:
    value = options.metadata
    if value is None:
        return None
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    _check_metadata(text)
    return text


def _check_metadata(text: str) -> None:
    data = text.encode(errors="surrogatepass")
    if len(data) > MAX_METADATA_BYTES:
        raise Problem(413, "too_large", "metadata is larger than 256 KB", param="metadata")
    if too_deep(data) or not _is_object(data):
        raise _wrong("metadata", "metadata must be a JSON object")
    if b"\\u0000" in data:
        raise _wrong("metadata", "metadata cannot hold the character U+0000")


def _is_object(data: bytes) -> bool:
    try:
        msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return True


def _wrong(param: str, message: str) -> Problem:
    return Problem(422, "invalid_option", message, param=param)
