"""A run as the API shows it: status in the words of the caller, and what follows from it."""

from typing import TypedDict

import msgspec

from outlast.protocol.bodies import ResultError, RunErrorBody, RunResult
from outlast.protocol.outcomes import RunError
from outlast.protocol.statuses import FAILED_ENDS, FINAL, NAMES, Status

_errors = msgspec.json.Decoder(RunError)


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


def run_error(text: str | None) -> RunErrorBody | None:
    """Return a stored error as the API shows it."""
    if text is None:
        return None
    error = _errors.decode(text)
    return RunErrorBody(
        message=error.message,
        name=error.type,
        stack_trace=error.stack or None,
        causes=error.causes or None,
        kind=error.kind,
    )


def run_result(
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
    error = _errors.decode(failure) if failure is not None else None
    return RunResult(
        ok=False,
        id=run_id,
        task_identifier=task,
        error=ResultError(
            name=error.type if error is not None else "Error",
            message=error.message if error is not None else f"the run ended as {status}",
            stack_trace=error.stack if error is not None else "",
        ),
    )
