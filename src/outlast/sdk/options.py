"""What can be said about a run when it is triggered."""

import difflib
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, Required, TypedDict

from outlast.protocol import triggers
from outlast.protocol.manifests import MAX_ATTEMPTS
from outlast.protocol.triggers import Trigger
from outlast.sdk import idempotency
from outlast.sdk.durations import Duration, moment, seconds
from outlast.sdk.errors import UsageError
from outlast.sdk.queue import Queue
from outlast.sdk.serde import Codec
from outlast.sdk.tags import Tags, check
from outlast.sdk.texts import storable, storable_json
from outlast.telemetry.traces import traceparent

MAX_METADATA_BYTES = 256 * 1024
TOKEN_SECONDS: Final = 3600.0
MAX_TOKEN_SECONDS: Final = 30 * 86_400.0


class Debounce(TypedDict, total=False):
    """Push a delayed run back instead of making another: one run for many triggers with the key.

    The run starts `delay` (at least 1 s) after the last trigger, at the latest `max_delay` after
    the first. `mode` leading (the default) keeps the first payload, trailing takes the last one
    with its metadata, tags, max_attempts, max_duration and machine.
    """

    key: Required[str]
    delay: Required[Duration]
    mode: Literal["leading", "trailing"]
    max_delay: Duration


class RunOptions(TypedDict, total=False):
    """Options of every run, whoever waits for it."""

    delay: Duration | datetime
    ttl: Duration
    idempotency_key: idempotency.Key
    idempotency_key_ttl: Duration
    queue: Queue | str
    concurrency_key: str | int
    fairness_group: str | int
    debounce: Debounce
    park: bool
    priority: float
    tags: Tags
    metadata: Mapping[str, object]
    max_attempts: int
    max_duration: Duration
    machine: str
    test: bool


class PublicTokenOptions(TypedDict):
    """What the handle's `public_access_token` is like: how long it lives, or until when."""

    expires: Duration | datetime


class TriggerOptions(RunOptions, total=False):
    """Options of a run that goes its own way; `version` pins the version it starts on."""

    version: str
    public_token_options: PublicTokenOptions


class WaitOptions(RunOptions, total=False):
    """Options of a run that its caller waits for; after `timeout` the caller goes on without it."""

    timeout: Duration


class BatchOptions(TypedDict, total=False):
    """Options of a batch as a whole."""

    idempotency_key: idempotency.Key
    public_token_options: PublicTokenOptions


class BatchWaitOptions(TypedDict, total=False):
    """Options of a batch that its caller waits for."""

    idempotency_key: idempotency.Key
    timeout: Duration


_HINTS: Final = {
    "concurrency_limit": "declare it: Queue(name, concurrency_limit=...), and pass queue=; "
    "concurrency_key= gives each tenant a lane of its own",
    "rate_limit": "declare it: Queue(name, rate='100/m')",
    "rate": "declare it: Queue(name, rate='100/m')",
    "region": "an installation has one region; leave it out",
    "timeout": "it bounds a wait: use trigger_and_wait(), or max_duration= for the run itself",
    "connection": "only trigger() and trigger_sync() make a run part of a transaction",
    "on_commit": "only trigger_sync() waits for a transaction of Django",
    "retry": "use max_attempts=, or retry= on @task",
    "version": "a run that is waited for runs on the version of the run that waits",
    "public_token_options": "what is waited for has no handle; use auth.create_public_token()",
    "payload": "give the payload as the first argument",
    "ctx": "the context is injected; it is not passed",
}

_metadata: Final = Codec[dict[str, Any]](
    lambda: dict[str, Any], subject="metadata", owner="trigger", error=UsageError
)


def build(
    task: str,
    payload: str | None,
    options: Mapping[str, Any],
    *,
    request_key: str | None = None,
    allowed: type = TriggerOptions,
) -> Trigger:
    """Return the trigger that a call asks for. Raises `UsageError`, naming the option."""
    trace = traceparent()
    if not options:
        return Trigger(task=task, payload=payload, request_key=request_key, trace_context=trace)
    known = allowed.__annotations__
    for name in options:
        if name not in known:
            raise unknown(name, known, f"trigger of {task}")
    fields = {
        field: value
        for name, given in options.items()
        if given is not None and name in _READERS
        for field, value in _READERS[name](given).items()
    }
    return Trigger(
        task=task, payload=payload, request_key=request_key, trace_context=trace, **fields
    )


def unknown(name: str, known: Mapping[str, object], where: str) -> UsageError:
    """Return the error for an option that does not exist, with the fix or the nearest name."""
    if name in _HINTS:
        return UsageError(f"{where}: {name} is no option here; {_HINTS[name]}")
    near = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
    return UsageError(f"{where}: {name} is no option; {advice}")


def _delay(value: Duration | datetime) -> dict[str, Any]:
    if isinstance(value, datetime):
        return {"delay_until": moment(value, "delay")}
    return {"delay": seconds(value, "delay")}


def _idempotency_key(value: idempotency.Key) -> dict[str, Any]:
    key = idempotency.resolve(value)
    return {
        "idempotency_key": str(key),
        "idempotency_key_shown": key.shown,
        "idempotency_scope": key.scope,
    }


def _queue(value: object) -> dict[str, Any]:
    if isinstance(value, str):
        return {"queue": storable(value, "queue")}
    if isinstance(value, Queue):
        if value.name is None:
            raise UsageError("the queue has no name; declare Queue('name', ...) at module scope")
        return {"queue": value.name}
    raise UsageError(
        f"queue is a {type(value).__name__}; declare Queue('name', concurrency_limit=...) at "
        "module scope and pass that object, or its name; concurrency_key= gives each tenant a lane"
    )


def _debounce(value: Debounce) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError('debounce is written debounce={"key": ..., "delay": "5s"}')
    for name in value:
        if name not in Debounce.__annotations__:
            raise unknown(name, Debounce.__annotations__, "debounce")
    if not value.get("key") or value.get("delay") is None:
        raise UsageError("debounce needs a key and a delay")
    delay = seconds(value["delay"], "debounce delay")
    longest = value.get("max_delay")
    most = None if longest is None else seconds(longest, "debounce max_delay")
    mode = value.get("mode", "leading")
    if delay < triggers.LEAST_DEBOUNCE:
        raise UsageError(f"debounce delay is at least 1 s, not {delay:g} s")
    if most is not None and most <= delay:
        raise UsageError(f"debounce max_delay must be longer than its delay of {delay:g} s")
    if mode not in ("leading", "trailing"):
        raise UsageError(f"debounce mode is 'leading' or 'trailing', not {mode!r}")
    key = storable(str(value["key"]), "debounce key")
    made = triggers.Debounce(key=key, delay=delay, trailing=mode == "trailing", max_delay=most)
    return {"debounce": made}


def _priority(value: object) -> dict[str, Any]:
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise UsageError(f"priority is a number of seconds of head start, not {value!r}")
    return {"priority": float(value)}  # type: ignore[arg-type]


def _encode_metadata(value: Mapping[str, object]) -> dict[str, Any]:
    text = storable_json(_metadata.encode(dict(value)), "metadata")
    if len(text.encode()) > MAX_METADATA_BYTES:
        raise UsageError(f"metadata is over {MAX_METADATA_BYTES // 1024} KB; put it in the payload")
    return {"metadata": text}


def _max_attempts(value: int) -> dict[str, Any]:
    if not 1 <= value <= MAX_ATTEMPTS:
        raise UsageError(f"max_attempts must be between 1 and {MAX_ATTEMPTS}, not {value}")
    return {"max_attempts": value}


def token_expiry(options: Mapping[str, Any]) -> float | datetime:
    """Return how long the token of a handle lives, or until when. Raises `UsageError`."""
    given = options.get("public_token_options")
    if given is None:
        return TOKEN_SECONDS
    if not isinstance(given, Mapping) or given.keys() != PublicTokenOptions.__annotations__.keys():
        raise UsageError('public_token_options is written public_token_options={"expires": "2h"}')
    expires = given["expires"]
    if isinstance(expires, datetime):
        moment(expires, "expires of public_token_options")
        return expires
    life = seconds(expires, "expires of public_token_options")
    if not 1 <= life <= MAX_TOKEN_SECONDS:
        raise UsageError(f"a public token lives between 1 s and 30 days, not {life:g} s")
    return life


def _public_token(value: object) -> dict[str, Any]:
    token_expiry({"public_token_options": value})  # of the handle: the run knows nothing of it
    return {}


_READERS: Final[dict[str, Any]] = {
    "delay": _delay,
    "ttl": lambda value: {"ttl": seconds(value, "ttl")},
    "idempotency_key": _idempotency_key,
    "idempotency_key_ttl": lambda value: {
        "idempotency_key_ttl": seconds(value, "idempotency_key_ttl")
    },
    "queue": _queue,
    "concurrency_key": lambda value: {"concurrency_key": storable(str(value), "concurrency_key")},
    "fairness_group": lambda value: {"fairness_group": storable(str(value), "fairness_group")},
    "debounce": _debounce,
    "park": lambda value: {"park": bool(value)},
    "priority": _priority,
    "tags": lambda value: {"tags": check(value)},
    "metadata": _encode_metadata,
    "max_attempts": _max_attempts,
    "max_duration": lambda value: {"max_duration": seconds(value, "max_duration")},
    "machine": lambda value: {"machine": storable(str(value), "machine")},
    "public_token_options": _public_token,
    "version": lambda value: {"version": storable(str(value), "version")},
    "test": lambda value: {"is_test": bool(value)},
}
