"""What an executor says at the end of a run: its output, or why it failed and what comes next."""

from dataclasses import dataclass
from typing import Protocol

from outlast.protocol.frames import Kind
from outlast.protocol.messages import Complete, Fail
from outlast.protocol.outcomes import ErrorKind
from outlast.sdk.errors import CompleteTaskWithOutput, MaxDurationExceeded, OutputError
from outlast.sdk.failures import describe
from outlast.worker.verdicts import Failed, Judgement


@dataclass(frozen=True)
class Returned:
    """The function returned; `output` is JSON text."""

    output: str | None


Ending = Returned | Fail | BaseException
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
    worked too long failed of that, unless it returned after all.
    """
    if run.lost is not None:
        return run.lost
    if isinstance(result, Returned | Fail):
        return result
    if (thrown := _output(result)) is not None:
        try:
            return Returned(run.task.encode_output(thrown.output))
        except OutputError as error:
            return error
    if run.overtime is not None and run.overtime is not result:
        return run.overtime.with_traceback(result.__traceback__)
    return result


def frame_of(run: Ended, result: Ending) -> tuple[Kind, Complete | Fail]:
    """Return kind and body of a run's last frame."""
    result = settled(run, result)
    if isinstance(result, Returned):
        return Kind.COMPLETE, Complete(result.output)
    return Kind.FAIL, result if isinstance(result, Fail) else failure_of(run, result)


def failure_of(run: Failed, error: BaseException) -> Fail:
    """Return what a failed attempt leads to when no hook is asked."""
    return Judgement(run, error).fail()


def is_replay(error: BaseException) -> bool:
    """Say whether the run cannot replay here: it is parked, not failed."""
    return describe(error).kind == "replay"


def _output(error: BaseException) -> CompleteTaskWithOutput | None:
    """Return the output that the code threw, also out of a TaskGroup."""
    if isinstance(error, CompleteTaskWithOutput):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := _output(each))), None)
    return None
