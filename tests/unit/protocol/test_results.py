"""Errors in the forms that the official clients know."""

import json
from typing import get_args

import pytest

from outlast.protocol.outcomes import SUSPECTED, UNKNOWN_TASK, WORKER_LOST, ErrorKind, RunError
from outlast.protocol.results import (
    CODES,
    BuiltInError,
    Code,
    CustomError,
    InternalError,
    StringError,
    form_of,
    missing_error,
)
from outlast.protocol.statuses import FAILED_ENDS, Status


@pytest.mark.parametrize("kind", get_args(ErrorKind))
def test_every_kind_has_a_form(kind: ErrorKind) -> None:
    """A code for what the platform saw, the exception for what the user's code raised."""
    form = form_of(RunError(kind, "Oops", "boom", stack="line 1"))

    if kind in {"raised", "aborted"}:
        assert form == BuiltInError(name="Oops", message="boom", stack_trace="line 1")
    elif kind == "expired":
        assert form == StringError(raw="boom")
    else:
        assert form == InternalError(code=CODES[kind], message="boom", stack_trace="line 1")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunError("out_of_memory", SUSPECTED, ""), "TASK_PROCESS_MAYBE_OOM_KILLED"),
        (RunError("out_of_memory", "OutOfMemory", ""), "TASK_PROCESS_OOM_KILLED"),
        (RunError("crashed", WORKER_LOST, ""), "TASK_RUN_HEARTBEAT_TIMEOUT"),
        (RunError("crashed", "ProcessDied", ""), "TASK_RUN_CRASHED"),
        (RunError("system", UNKNOWN_TASK, ""), "COULD_NOT_FIND_TASK"),
        (RunError("timed_out", "MaxDurationExceeded", ""), "MAX_DURATION_EXCEEDED"),
        (RunError("canceled", "Canceled", ""), "TASK_RUN_CANCELLED"),
        (RunError("payload", "PayloadError", ""), "TASK_INPUT_ERROR"),
    ],
)
def test_what_the_platform_saw_has_a_code(error: RunError, code: Code) -> None:
    assert form_of(error) == InternalError(code=code, message="")


@pytest.mark.parametrize(("data", "read"), [('{"a":1}', {"a": 1}), ("not JSON", "not JSON")])
def test_an_exception_with_data_keeps_it(data: str, read: object) -> None:
    form = form_of(RunError("raised", "Declined", "no", data=data))

    assert isinstance(form, CustomError)
    assert json.loads(form.raw) == {
        "name": "Declined",
        "message": "no",
        "stackTrace": "",
        "data": read,
    }


@pytest.mark.parametrize("status", sorted({*FAILED_ENDS, Status.CANCELED}))
def test_an_end_without_an_error_has_a_form_too(status: Status) -> None:
    assert form_of(missing_error(status)).type in {"INTERNAL_ERROR", "STRING_ERROR"}
