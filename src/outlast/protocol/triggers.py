"""What a caller asks for when it triggers a run, and what it is told."""

import msgspec

LEAST_DEBOUNCE = 1.0
"""Seconds that a debounced run is delayed at least."""


class Debounce(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Triggers with this key push a delayed run of the task back instead of making another one.

    `delay` and `max_delay` in seconds. `trailing`: the last payload and options count, else the
    first.
    """

    key: str
    delay: float
    trailing: bool = False
    max_delay: float | None = None


class Trigger(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One run to create, as asked for: nothing is resolved or checked yet.

    Durations are seconds. Text sizes are limited where the server takes it in.
    """

    task: str
    payload: str | None = None  # as received; JSON text when the type says so
    payload_type: str = "application/json"
    queue: str | None = None
    concurrency_key: str | None = None
    idempotency_key: str | None = None  # already hashed: 64 hex characters
    idempotency_key_ttl: float | None = None  # default 30 days
    idempotency_key_shown: str | None = None  # what the user wrote
    idempotency_scope: str | None = None
    request_key: str | None = None  # makes a repeated request safe; one per logical call
    delay: float | None = None
    delay_until: float | None = None  # seconds since the epoch; the past means now
    ttl: float | None = None  # 0 opts out
    priority: float = 0.0  # seconds of head start
    tags: tuple[str, ...] = ()
    metadata: str | None = None  # a JSON object
    max_attempts: int | None = None
    max_duration: float | None = None
    machine: str | None = None
    version: str | None = None
    is_test: bool = False
    debounce: Debounce | None = None
    fairness_group: str | None = None  # lanes that share one share of their queue; default: the key
    park: bool = False  # wait for a version that declares the task and the queue
    trace_context: str | None = None


class Triggered(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to one trigger: a run, or why there is none.

    `batch_id` is the batch that a task's `batch_trigger` made.
    """

    run_id: str = ""
    is_cached: bool = False
    error: "Refusal | None" = None
    batch_id: str = ""


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """A typed 'no' that names the field or the fix; the HTTP status says whose fault it is."""

    status: int
    code: str
    message: str
    param: str | None = None
