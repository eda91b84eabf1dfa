"""How runs ended, in the forms that the official clients know: a value, or one of four errors.

An exception is a `BUILT_IN_ERROR`. One that carries data is a `CUSTOM_ERROR`, so that the data
arrives. What is told in one sentence is a `STRING_ERROR`. What the platform saw has a code.
"""

from typing import Annotated, Literal

import msgspec
from pydantic import Field

from outlast.protocol.body import Body
from outlast.protocol.outcomes import (
    SUSPECTED,
    UNKNOWN_TASK,
    WORKER_LOST,
    ErrorKind,
    RunError,
)
from outlast.protocol.statuses import Status

Code = Literal[
    "COULD_NOT_FIND_TASK",
    "TASK_EXECUTION_FAILED",
    "TASK_INPUT_ERROR",
    "TASK_OUTPUT_ERROR",
    "TASK_PROCESS_MAYBE_OOM_KILLED",
    "TASK_PROCESS_OOM_KILLED",
    "TASK_RUN_CANCELLED",
    "TASK_RUN_CRASHED",
    "TASK_RUN_HEARTBEAT_TIMEOUT",
    "MAX_DURATION_EXCEEDED",
]
"""What the platform saw. Clients refuse a code that they do not know: these they all know."""

CODES: dict[ErrorKind, Code] = {
    "payload": "TASK_INPUT_ERROR",
    "output": "TASK_OUTPUT_ERROR",
    "crashed": "TASK_RUN_CRASHED",
    "out_of_memory": "TASK_PROCESS_OOM_KILLED",
    "timed_out": "MAX_DURATION_EXCEEDED",
    "canceled": "TASK_RUN_CANCELLED",
    "replay": "TASK_EXECUTION_FAILED",
    "system": "TASK_EXECUTION_FAILED",
}
"""The kinds that have a code. The others are the user's own exceptions, and an expired run."""

_BY_TYPE: dict[str, Code] = {
    SUSPECTED: "TASK_PROCESS_MAYBE_OOM_KILLED",
    WORKER_LOST: "TASK_RUN_HEARTBEAT_TIMEOUT",
    UNKNOWN_TASK: "COULD_NOT_FIND_TASK",
}
_raw = msgspec.json.Decoder(msgspec.Raw)
_BY_STATUS: dict[str, ErrorKind] = {
    Status.CANCELED: "canceled",
    Status.EXPIRED: "expired",
    Status.TIMED_OUT: "timed_out",
    Status.CRASHED: "crashed",
}


class BuiltInError(Body):
    """What user code raised."""

    type: Literal["BUILT_IN_ERROR"] = "BUILT_IN_ERROR"
    name: str
    message: str
    stack_trace: str = ""


class CustomError(Body):
    """What user code raised, with data: `raw` is an object with name, message, data and stack."""

    type: Literal["CUSTOM_ERROR"] = "CUSTOM_ERROR"
    raw: str


class StringError(Body):
    """One sentence."""

    type: Literal["STRING_ERROR"] = "STRING_ERROR"
    raw: str


class InternalError(Body):
    """What the platform saw."""

    type: Literal["INTERNAL_ERROR"] = "INTERNAL_ERROR"
    code: Code
    message: str | None = None
    stack_trace: str | None = None


ResultError = Annotated[
    BuiltInError | CustomError | StringError | InternalError, Field(discriminator="type")
]


class RunResult(Body):
    """How a run ended; `output` is JSON text, decoded by the caller through `outputType`."""

    ok: bool
    id: str
    task_identifier: str | None = None
    output: str | None = None
    output_type: str | None = None
    error: ResultError | None = None


class BatchResults(Body):
    """`GET /api/v1/batches/{id}/results`: the runs that have ended, in the order of the items."""

    id: str
    items: tuple[RunResult, ...]


def code_of(error: RunError) -> Code | None:
    """Return the code of what the platform saw; None for what the user's code raised."""
    code = CODES.get(error.kind)
    return None if code is None else _BY_TYPE.get(error.type, code)


def form_of(error: RunError) -> BuiltInError | CustomError | StringError | InternalError:
    """Return an error in the form for its kind."""
    code = code_of(error)
    if code is not None:
        return InternalError(code=code, message=error.message, stack_trace=error.stack or None)
    if error.kind == "expired":
        return StringError(raw=error.message)
    if error.data is not None:
        return CustomError(raw=_with_data(error, error.data))
    return BuiltInError(name=error.type, message=error.message, stack_trace=error.stack)


def missing_error(status: str) -> RunError:
    """Return the error of a run that ended badly without one."""
    return RunError(_BY_STATUS.get(status, "system"), "Error", f"the run ended as {status}")


def _with_data(error: RunError, data: str) -> str:
    told: dict[str, object] = {
        "name": error.type,
        "message": error.message,
        "stackTrace": error.stack,
    }
    try:
        value: object = _raw.decode(data)
    except msgspec.DecodeError:  # any text may stand in an exception's `data`
        value = data
    return msgspec.json.encode({**told, "data": value}).decode()
