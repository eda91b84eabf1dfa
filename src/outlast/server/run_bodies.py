"""A run as the API shows it: status in the words of the caller, and what follows from it."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypedDict

import msgspec

from outlast.engine.payloads import SUPER_JSON, TEXT
from outlast.engine.runs import Contents, Failure, Run
from outlast.engine.tenancy import Environment
from outlast.protocol.bodies import (
    FailedAttempt,
    ListedRun,
    RelatedRun,
    RelatedRuns,
    RunDetail,
    RunEnvironment,
    RunErrorBody,
    TriggerFunction,
)
from outlast.protocol.outcomes import RunError
from outlast.protocol.results import RunResult, code_of, form_of, missing_error
from outlast.protocol.statuses import FAILED_ENDS, FINAL, NAMES, Status

_FUNCTIONS: dict[str, TriggerFunction] = {
    "trigger": "trigger",
    "triggerAndWait": "triggerAndWait",
    "batchTrigger": "batchTrigger",
    "batchTriggerAndWait": "batchTriggerAndWait",
}


class _SuperJson(msgspec.Struct):
    json: msgspec.Raw


_errors = msgspec.json.Decoder(RunError)
_raw = msgspec.json.Decoder(msgspec.Raw)
_super = msgspec.json.Decoder(_SuperJson)
_objects = msgspec.json.Decoder(dict[str, object])
_encoder = msgspec.json.Encoder()


class Flags(TypedDict):
    """What a status means, as booleans.

    `is_completed` holds for every end, so that whoever polls for it stops; `is_failed` for every
    bad end but a canceled one, because somebody wanted that.
    """

    is_queued: bool
    is_executing: bool
    is_waiting: bool
    is_completed: bool
    is_success: bool
    is_failed: bool
    is_cancelled: bool


class _Shared(Flags):
    id: str
    status: str
    task_identifier: str
    is_test: bool
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    delayed_until: datetime | None
    expired_at: datetime | None
    tags: tuple[str, ...]
    duration_ms: float
    idempotency_key: str | None
    version: str | None
    ttl: str | None
    metadata: dict[str, object] | None
    queue: str
    concurrency_key: str | None
    reason: str | None


def flags(status: Status) -> Flags:
    """Return the booleans of a status."""
    shown = NAMES[status].api
    return Flags(
        is_queued=shown in {"QUEUED", "PENDING_VERSION", "DELAYED"},
        is_executing=shown in {"EXECUTING", "DEQUEUED"},
        is_waiting=shown == "WAITING",
        is_completed=status in FINAL,
        is_success=status is Status.COMPLETED,
        is_failed=status in FAILED_ENDS,
        is_cancelled=status is Status.CANCELED,
    )


def listed(run: Run, environment: Environment, *, legacy: bool) -> ListedRun:
    """Return a run of a list."""
    return ListedRun.model_validate(
        {
            **_shared(run, legacy=legacy),
            "env": RunEnvironment(id=environment.id, name=environment.slug),
        }
    )


def related(run: Run, *, legacy: bool) -> RelatedRun:
    """Return a run above or below another one."""
    return RelatedRun.model_validate(_family(run, legacy=legacy))


def detail(
    run: Run,
    contents: Contents,
    *,
    legacy: bool,
    family: RelatedRuns | None = None,
    standing: str | None = None,
    failures: Sequence[Failure] = (),
) -> bytes:
    """Return the JSON text of everything about a run.

    Payload and output are put in as the JSON they were stored as: nothing is lost on the way.
    """
    body = RunDetail.model_validate(
        {
            **_family(run, legacy=legacy),
            "reason": standing,
            "attempt_count": run.attempt,
            "generation": run.generation,
            "related_runs": family or RelatedRuns(),
            "machine": run.machine,
            "max_duration_seconds": run.max_duration,
            "priority": run.priority or None,
            "replayed_from": run.replayed_from,
            "batch_id": run.batch_id,
            "failed_attempts": tuple(map(_failed_attempt, failures)) or None,
            "error": None if contents.error is None else error_body(_errors.decode(contents.error)),
        }
    )
    fields = body.model_dump(mode="json", exclude_none=True)
    if contents.payload is not None:
        fields["payload"] = plain(contents.payload, contents.payload_type)
    if run.status is Status.COMPLETED and contents.output is not None:
        fields["output"] = plain(contents.output, "application/json")
    return _encoder.encode(fields)


def plain(text: str, media_type: str) -> msgspec.Raw | str:
    """Return stored text as the plain JSON value it stands for, or as a string if it is none."""
    if media_type == TEXT:
        return text
    try:
        raw = _super.decode(text).json if media_type == SUPER_JSON else _raw.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return msgspec.Raw(bytes(raw))


def error_body(error: RunError) -> RunErrorBody:
    """Return a stored error as the API shows it."""
    return RunErrorBody(
        message=error.message,
        name=error.type,
        stack_trace=error.stack or None,
        causes=error.causes or None,
        kind=error.kind,
        code=code_of(error),
        line=error.line or None,
    )


def _failed_attempt(failure: Failure) -> FailedAttempt:
    return FailedAttempt(
        number=failure.attempt,
        failed_at=failure.at,
        error=error_body(_errors.decode(failure.error)),
    )


def metadata(text: str | None) -> dict[str, object]:
    """Return a run's metadata; there is always an object."""
    return {} if text is None else _objects.decode(text)


def result(
    run_id: str, task: str, status: str, output: str | None, failure: str | None
) -> RunResult:
    """Return how a run ended, for callers that wait for its value."""
    if status == Status.COMPLETED:
        return RunResult(
            ok=True,
            id=run_id,
            task_identifier=task,
            output=output,
            output_type="application/json",
        )
    error = missing_error(status) if failure is None else _errors.decode(failure)
    return RunResult(ok=False, id=run_id, task_identifier=task, error=form_of(error))


def _shared(run: Run, *, legacy: bool) -> _Shared:
    names = NAMES[run.status]
    return _Shared(
        **flags(run.status),
        id=run.id,
        status=names.legacy if legacy else names.api,
        task_identifier=run.task,
        is_test=run.is_test,
        created_at=run.created_at,
        updated_at=run.updated_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        delayed_until=run.delay_until,
        expired_at=run.finished_at if run.status is Status.EXPIRED else None,
        tags=run.tags,
        duration_ms=round(run.active_seconds * 1000),
        idempotency_key=run.idempotency_shown or run.idempotency_key,
        version=run.version,
        ttl=f"{run.ttl:g}s" if run.ttl else None,
        metadata=None if run.metadata is None else metadata(run.metadata),
        queue=run.queue,
        concurrency_key=run.concurrency_key,
        reason=run.reason,
    )


def _family(run: Run, *, legacy: bool) -> dict[str, object]:
    return {
        **_shared(run, legacy=legacy),
        "depth": run.depth,
        "trigger_function": _FUNCTIONS.get(run.trigger_function, "trigger"),
    }
