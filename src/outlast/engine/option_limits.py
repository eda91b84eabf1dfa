"""The limits of trigger options that need no look-up, held to whichever way a trigger came."""

import math
from collections.abc import Sequence

from outlast.engine.payloads import TYPES, Unfit, check_metadata, encode
from outlast.protocol.machines import PRESETS
from outlast.protocol.manifests import MAX_ATTEMPTS
from outlast.protocol.triggers import LEAST_DEBOUNCE, Debounce, Refusal, Trigger

MAX_TAGS = 10
MAX_TAG_CHARS = 128
MAX_KEY_CHARS = 512
MAX_KEY_BYTES = 1_200
"""Keys stand in indexes beside other names; a row there holds 2,704 bytes."""
MAX_SHOWN_CHARS = 2_048
_MAX_SECONDS = 10 * 365 * 86_400.0
_MAX_EPOCH = 253_402_300_799.0  # the end of the year 9999
_SCOPES = frozenset({"run", "attempt", "global"})


def check_limits(trigger: Trigger) -> None:
    """Hold a trigger to every limit that needs no look-up. Raises `Unfit`."""
    _check_texts(trigger)
    _check_numbers(trigger)
    if trigger.payload_type not in TYPES:
        raise _unfit("payloadType", f"{trigger.payload_type[:80]!r} is not a known payload type")
    if trigger.machine is not None and trigger.machine not in PRESETS:
        raise _unfit("machine", f"machine must be one of {', '.join(PRESETS)}")
    if trigger.idempotency_scope is not None and trigger.idempotency_scope not in _SCOPES:
        raise _unfit("idempotencyScope", "idempotency scope must be run, attempt or global")
    if trigger.tags:
        _check_tags(trigger.tags)
    if trigger.debounce is not None:
        _check_debounce(trigger.debounce)
    if trigger.metadata is not None:
        check_metadata(trigger.metadata)


def _check_tags(given: Sequence[str]) -> None:
    tags = dict.fromkeys(given)
    if len(tags) > MAX_TAGS:
        raise _unfit("tags", f"a run has at most {MAX_TAGS} tags, {len(tags)} were given")
    for tag in tags:
        _check_text("tags", tag, MAX_TAG_CHARS)


def _check_debounce(debounce: Debounce) -> None:
    _check_text("debounce", debounce.key, MAX_KEY_CHARS)
    _check_number("debounce", debounce.delay, _MAX_SECONDS, least=LEAST_DEBOUNCE)
    if debounce.max_delay is None:
        return
    _check_number("debounce", debounce.max_delay, _MAX_SECONDS)
    if debounce.max_delay <= debounce.delay:
        raise _unfit("debounce", "the debounce's maxDelay must be longer than its delay")


def _check_texts(trigger: Trigger) -> None:
    """Check what is given, which is little as a rule; a table would cost more than the checks."""
    _check_text("task", trigger.task, MAX_KEY_CHARS)
    if trigger.queue is not None:
        _check_text("queue", trigger.queue, 200)
    if trigger.concurrency_key is not None:
        _check_text("concurrencyKey", trigger.concurrency_key, MAX_KEY_CHARS)
    if trigger.fairness_group is not None:
        _check_text("fairnessGroup", trigger.fairness_group, MAX_KEY_CHARS)
    if trigger.idempotency_key is not None:
        _check_text("idempotencyKey", trigger.idempotency_key, MAX_KEY_CHARS)
    if trigger.idempotency_key_shown is not None:
        _check_text("idempotencyKeyOptions", trigger.idempotency_key_shown, MAX_SHOWN_CHARS)
    if trigger.request_key is not None:
        _check_text("requestKey", trigger.request_key, MAX_KEY_CHARS)
    if trigger.version is not None:
        _check_text("version", trigger.version, 200)
    if trigger.trace_context is not None:
        _check_text("traceContext", trigger.trace_context, MAX_SHOWN_CHARS)


def _check_text(param: str, text: str, longest: int) -> None:
    if not 0 < len(text) <= longest:
        raise _unfit(param, f"{param} has 1 to {longest} characters, not {len(text)}")
    data = encode(text, param)
    if longest <= MAX_KEY_CHARS and len(data) > MAX_KEY_BYTES:
        raise _unfit(param, f"{param} has at most {MAX_KEY_BYTES} bytes, not {len(data)}")


def _check_numbers(trigger: Trigger) -> None:
    if trigger.delay is not None:
        _check_number("delay", trigger.delay, _MAX_SECONDS)
    if trigger.delay_until is not None:
        _check_number("delay", trigger.delay_until, _MAX_EPOCH)
    if trigger.ttl is not None:
        _check_number("ttl", trigger.ttl, _MAX_SECONDS)
    if trigger.idempotency_key_ttl is not None:
        _check_number("idempotencyKeyTTL", trigger.idempotency_key_ttl, _MAX_SECONDS)
    if trigger.priority:
        _check_number("priority", trigger.priority, _MAX_SECONDS)
    if trigger.max_duration is not None:
        _check_number("maxDuration", trigger.max_duration, _MAX_SECONDS)
    if trigger.max_attempts is not None:
        _check_number("maxAttempts", trigger.max_attempts, MAX_ATTEMPTS, least=1)


def _check_number(param: str, number: float, most: float, *, least: float = 0.0) -> None:
    if not (math.isfinite(number) and least <= number <= most):
        raise _unfit(param, f"{param} must be between {least:,.0f} and {most:,.0f}")


def _unfit(param: str, message: str) -> Unfit:
    return Unfit(Refusal(422, "invalid_option", message, param))
