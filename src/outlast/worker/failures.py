"""Turn what user code raised into an error that travels as data."""

import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from pydantic import ValidationError

from outlast.protocol.outcomes import (
    MAX_MESSAGE,
    MAX_STACK_LINES,
    ErrorKind,
    Outcome,
    RunError,
)
from outlast.sdk import errors

_FIRST_LINES = 5
_MAX_CAUSES = 10
_OWN_FRAMES = str(Path(__file__).parent)

NEVER_RETRIED: frozenset[ErrorKind] = frozenset(
    {"aborted", "payload", "output", "canceled", "replay"}
)
"""Kinds of failure that another attempt cannot cure, or must not have."""

_KINDS: tuple[tuple[type[BaseException], ErrorKind], ...] = (
    (errors.AbortTaskRunError, "aborted"),
    (errors.PayloadError, "payload"),
    (errors.OutputError, "output"),
    (errors.NonDeterministicReplayError, "replay"),
    (errors.MaxDurationExceeded, "timed_out"),
)


def describe(error: BaseException) -> RunError:
    """Return the error as data: 1,000 characters of message, 50 lines of stack, its causes."""
    data = getattr(error, "data", None)
    return RunError(
        kind=_kind(error),
        type=_type(error),
        message=_cut(_message(error)),
        stack=_stack(error),
        data=data if isinstance(data, str) else None,
        causes=tuple(f"{_type(cause)}: {_cut(_message(cause))}" for cause in _causes(error)),
    )


def culprits(error: BaseException) -> Iterator[errors.StepError | errors.RunError]:
    """Yield the failures of entries that ended an attempt.

    The error itself, what it was explicitly raised from, and the members of a group. A failure that
    the code handled is none of these: it is a decision, and a retry keeps it.
    """
    seen: set[int] = set()
    left: list[BaseException] = [error]
    while left:
        this = left.pop()
        if id(this) in seen:
            continue
        seen.add(id(this))
        if isinstance(this, errors.StepError | errors.RunError):
            yield this
        if isinstance(this, BaseExceptionGroup):
            left.extend(this.exceptions)
        if this.__cause__ is not None:
            left.append(this.__cause__)


def is_failure_of(failure: errors.StepError | errors.RunError, outcome: Outcome) -> bool:
    """Say whether an entry's outcome, or that of a batch's member, is what the code raised."""
    if outcome.error is not None and _same(failure, outcome.error):
        return True
    return any(is_failure_of(failure, member) for member in outcome.members or ())


def _same(failure: errors.StepError | errors.RunError, error: RunError) -> bool:
    return (failure.kind, failure.type, failure.message, failure.stack) == (
        error.kind,
        error.type,
        error.message,
        error.stack,
    )


def _kind(error: BaseException) -> ErrorKind:
    for cls, kind in _KINDS:
        if isinstance(error, cls):
            return kind
    if isinstance(error, errors.StepError) and error.kind == "aborted":
        return "aborted"
    return "raised"


def _type(error: BaseException) -> str:
    return type(error).__name__


def _message(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        # pydantic's own text holds the input, which may be a secret.
        found = error.errors(include_url=False, include_context=False, include_input=False)
        lines = (f"{'.'.join(map(str, item['loc'])) or '(root)'}: {item['msg']}" for item in found)
        return f"{error.title}: " + "; ".join(lines)
    if isinstance(error, msgspec.ValidationError):
        return str(error)
    if isinstance(error, BaseExceptionGroup):
        members = "; ".join(f"{_type(member)}: {_message(member)}" for member in error.exceptions)
        return f"{error.message}: {members}"
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken `__str__` must not hide the failure
        return "(the error has no text: its __str__ failed)"


def _cut(text: str) -> str:
    text = text.replace("\x00", "\\x00").encode(errors="replace").decode()
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    for _ in range(_MAX_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__


def _stack(error: BaseException) -> str:
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_OWN_FRAMES)
    ]
    lines = "".join(traceback.format_list(frames)).splitlines()
    return "\n".join(_shorten(lines)).replace("\x00", "\\x00").encode(errors="replace").decode()


def _shorten(lines: list[str]) -> Iterable[str]:
    if len(lines) <= MAX_STACK_LINES:
        return lines
    return lines[:_FIRST_LINES] + lines[_FIRST_LINES - MAX_STACK_LINES :]
