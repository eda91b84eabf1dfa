"""Which entries ended an attempt: the next one does them again."""

from collections.abc import Iterator

from outlast.protocol.outcomes import Outcome, RunError
from outlast.sdk import errors


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
