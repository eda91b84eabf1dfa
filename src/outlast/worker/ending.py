"""What an executor says at the end of a run: its output, or why it failed and what comes next."""

from dataclasses import dataclass
from typing import Protocol, TypeVar

from outlast.protocol import messages
from outlast.protocol.frames import Kind
from outlast.protocol.messages import Complete, Fail
from outlast.protocol.outcomes import ErrorKind
from outlast.sdk.errors import (
    CompleteTaskWithOutput,
    Interrupt,
    MaxDurationExceeded,
    OutputError,
    PayloadError,
    Restart,
)
from outlast.sdk.failures import describe
from outlast.worker.verdicts import Failed, Judgement


@dataclass(frozen=True)
class Returned:
    """The function returned; `output` is JSON text."""

    output: str | None


@dataclass(frozen=True)
class Restarted:
    """The run begins again under its id; `payload` is JSON text."""

    payload: str | None


InterruptT = TypeVar("InterruptT", bound=Interrupt)
Ending = Returned | Restarted | Fail | BaseException
"""How the code ended; a Fail is an error that was judged already."""

UNTOLD: frozenset[ErrorKind] = frozenset({"replay", "canceled"})
"""Kinds of failure that no `on_failure` hook hears of."""


class Ended(Failed, Protocol):
    """A run whose code has ended."""

    lost: BaseException | None
    overtime: MaxDurationExceeded | None


def settled(run: Ended, result: Ending) -> Ending:
    """Return what counts as the end, whatever the code made of it on its way out.

    A loss counts before all; an output that the code threw counts like one that it returned. What
    worked too long failed of that, unless it returned or began again after all. What is canceled
    does not begin again.
    """
    if run.lost is not None:
        return run.lost
    if isinstance(result, Returned | Restarted | Fail):
        return result
    if (told := _told(run, result)) is not None:
        return told
    if run.overtime is not None and run.overtime is not result:
        return run.overtime.with_traceback(result.__traceback__)
    return result


def frame_of(run: Ended, result: Ending) -> tuple[Kind, Complete | messages.Restart | Fail]:
    """Return kind and body of a run's last frame."""
    result = settled(run, result)
    if isinstance(result, Returned):
        return Kind.COMPLETE, Complete(result.output)
    if isinstance(result, Restarted):
        return Kind.RESTART, messages.Restart(result.payload)
    return Kind.FAIL, result if isinstance(result, Fail) else failure_of(run, result)


def failure_of(run: Failed, error: BaseException) -> Fail:
    """Return what a failed attempt leads to when no hook is asked."""
    return Judgement(run, error).fail()


def is_replay(error: BaseException) -> bool:
    """Say whether the run cannot replay here: it is parked, not failed."""
    return describe(error).kind == "replay"


def _told(run: Ended, error: BaseException) -> Ending | None:
    """Return the end that the code threw instead of returning."""
    try:
        if (thrown := _thrown(error, CompleteTaskWithOutput)) is not None:
            return Returned(run.task.encode_output(thrown.output))
        if run.cancel_reason is None and (again := _thrown(error, Restart)) is not None:
            return Restarted(run.task.encode_payload(again.payload))
    except (OutputError, PayloadError) as unfit:
        return unfit.with_traceback(error.__traceback__)  # it was thrown there
    return None


def _thrown(error: BaseException, kind: type[InterruptT]) -> InterruptT | None:
    """Return an interrupt of a kind, also out of a TaskGroup."""
    if isinstance(error, kind):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := _thrown(each, kind))), None)
    return None
