"""Reading triggers: from what a client sends, spelled as on the wire, to a `Trigger`.

The payload is cut out of the body as text and never parsed here. Sizes and limits are the engine's
matter: it holds every trigger to them, whichever way it came.
"""

import difflib
import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

import msgspec
from pydantic import JsonValue, ValidationError

from outlast.engine.payloads import JSON, TEXT
from outlast.protocol.bodies import DebounceOption, QueueOption, TriggerOptions
from outlast.protocol.durations import parse_duration
from outlast.protocol.nesting import MAX_DEPTH, is_too_deep
from outlast.protocol.triggers import Debounce, Trigger
from outlast.server.problems import Problem, invalid

_Envelope = TypeVar("_Envelope")

_HASHED = re.compile(r"[0-9a-f]{64}")
_KEY_TTL = re.compile(r"\d{1,9}[smhd]")
_OPAQUE = msgspec.Raw(b"")
_ASIDE = ("gates", "concurrency", "external_deployment_id")
_IGNORED = frozenset(
    {
        *("payloadSize", "region", "bulkActionId", "parentRunId", "rootTaskRunId", "parentBatch"),
        *("parentAttempt", "dependentAttempt", "dependentBatch", "oneTimeUseToken"),
        *("realtimeStreamsVersion", "traceContext"),
    }
)
"""What the official clients send and this server has no use for; anything else is a mistake."""


class Envelope(msgspec.Struct, frozen=True):
    """A trigger body with its parts still encoded."""

    payload: msgspec.Raw = _OPAQUE
    options: msgspec.Raw = _OPAQUE


class TaskEnvelope(Envelope, frozen=True, kw_only=True):
    """One that says for which task."""

    task: str


class ItemEnvelope(TaskEnvelope, frozen=True, kw_only=True):
    """A line of a batch, likewise."""

    index: int


_envelopes = msgspec.json.Decoder(Envelope)
_items = msgspec.json.Decoder(ItemEnvelope)
_text = msgspec.json.Decoder(str)
_names = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KNOWN = {field.alias or name for name, field in TriggerOptions.model_fields.items()}
_KEY_ADVICE = "concurrencyKey gives each tenant a lane of its own"
_FIXES = {
    "concurrencyLimit": f"declare the limit on the queue; {_KEY_ADVICE}",
    "rateLimit": "declare a rate on the queue",
    "rate": "declare a rate on the queue",
    "retry": "use maxAttempts, or declare the retry policy on the task",
    "tag": "use tags",
    "version": "use lockToVersion",
}


def read_trigger(task: str, body: bytes, headers: Mapping[str, str]) -> Trigger:
    """Return what a trigger request asks for. Raises `Problem`."""
    if not body:
        raise Problem(400, "empty_body", "Request body is empty")
    return make_trigger(task, decode(_envelopes, body), headers)


def read_item(line: bytes) -> ItemEnvelope:
    """Return one line of a batch, its options not looked at yet. Raises `Problem`."""
    if is_too_deep(line):
        raise Problem(400, "too_deep", f"the item is nested deeper than {MAX_DEPTH} levels")
    return decode(_items, line)


def make_trigger(task: str, envelope: Envelope, headers: Mapping[str, str]) -> Trigger:
    """Return the trigger of an envelope, for the task of this id. Raises `Problem`."""
    options = _options(envelope.options)
    _refuse_unsupported(options)
    payload_type, payload = _payload(envelope.payload, options.payload_type)
    delay, delay_until = read_delay(options.delay, "delay")
    key = options.idempotency_key or headers.get("idempotency-key")
    key_ttl = options.idempotency_key_ttl or headers.get("idempotency-key-ttl")
    shown = options.idempotency_key_options
    return Trigger(
        task=task,
        payload=payload,
        payload_type=payload_type,
        queue=_queue(options.queue),
        concurrency_key=_concurrency_key(options.concurrency_key),
        idempotency_key=hashed(key),
        idempotency_key_ttl=read_key_ttl(key_ttl),
        idempotency_key_shown=shown.key if shown is not None else key,
        idempotency_scope=shown.scope if shown is not None else None,
        request_key=headers.get("x-trigger-request-idempotency-key") or None,
        delay=delay,
        delay_until=delay_until,
        ttl=_ttl(options.ttl),
        priority=options.priority or 0.0,
        tags=_tags(options.tags),
        metadata=_metadata(options.metadata),
        max_attempts=options.max_attempts,
        max_duration=options.max_duration,
        debounce=_debounce(options.debounce),
        fairness_group=_concurrency_key(options.fairness_group),
        park=options.park,
        machine=options.machine,
        version=options.lock_to_version,
        is_test=options.test,
        trace_context=headers.get("traceparent"),
    )


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
        _refuse_unknown(text)
        return TriggerOptions.model_validate_json(text)
    except ValidationError as error:
        raise invalid(error, what="options") from None


def _refuse_unknown(text: bytes) -> None:
    for name in decode(_names, text):
        if name not in _KNOWN and name not in _IGNORED:
            fix = _FIXES.get(name)
            near = difflib.get_close_matches(name[:80], _KNOWN, n=1)
            advice = fix or (f"did you mean {near[0]}?" if near else "leave it out")
            raise _wrong(name[:80], f"{name[:80]!r} is no trigger option; {advice}")


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
    payload: str | None = None
    try:
        if payload_type != JSON and data.startswith(b'"'):
            payload = _text.decode(data)
        elif data:
            payload = data.decode()
            payload_type = JSON if payload_type == TEXT else payload_type
    except (UnicodeDecodeError, msgspec.DecodeError):  # a part that was skipped is not checked yet
        raise Problem(
            400, "invalid_json", "Invalid JSON: the payload is not UTF-8", param="payload"
        ) from None
    return payload_type, payload


def read_delay(text: str | None, param: str) -> tuple[float | None, float | None]:
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
        raise _wrong(param, f"{param} must be a duration such as 1h30m or an ISO date with a zone")
    return None, moment.timestamp()


def _debounce(option: DebounceOption | None) -> Debounce | None:
    if option is None:
        return None
    delay = parse_duration(option.delay)
    longest = None if option.max_delay is None else parse_duration(option.max_delay)
    if delay is None or (longest is None and option.max_delay is not None):
        raise _wrong("debounce", "the debounce's delay and maxDelay must be durations such as 5s")
    return Debounce(
        key=option.key, delay=delay, trailing=option.mode == "trailing", max_delay=longest
    )


def _ttl(value: str | int | None) -> float | None:
    if value is None:
        return None
    seconds = float(value) if isinstance(value, int) else parse_duration(value)
    if seconds is None or seconds < 0:
        raise _wrong("ttl", "ttl must be a duration such as 10m or a number of whole seconds")
    return seconds


def read_key_ttl(text: str | None) -> float | None:
    """Return how long an idempotency key holds, in seconds. Raises `Problem`."""
    if not text:
        return None
    seconds = parse_duration(text) if _KEY_TTL.fullmatch(text) else None
    if seconds is None:
        raise _wrong("idempotencyKeyTTL", "idempotencyKeyTTL must be a duration such as 60s or 7d")
    return seconds


def hashed(key: str | None) -> str | None:
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
    return str(value)


def _tags(tags: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (tags,) if isinstance(tags, str) else tags or ()


def _metadata(value: dict[str, JsonValue] | str | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _wrong(param: str, message: str) -> Problem:
    return Problem(422, "invalid_option", message, param=param)
