"""Every error that user code can meet.

OutlastError
├── UsageError                    the call cannot work as written
│   ├── SettingsError             no server or key is configured
│   ├── OutsideRunError           needs a run, and there is none
│   ├── ForeignCallError          from a thread or loop that the run does not own
│   └── WaitInStepError           a wait or child inside a step
├── ApiError                      the server said no
│   ├── BadRequestError 400, AuthenticationError 401, PermissionDeniedError 403,
│   ├── NotFoundError 404, ConflictError 409, UnprocessableError 422,
│   └── RateLimitError 429, ServerError 500+
├── TransportError                the server did not answer
├── RunError                      a run ended without an output
│   ├── RunFailed
│   ├── RunCanceled
│   ├── RunTimedOut
│   └── RunExpired
├── StepError                     a step failed, live and on replay alike
├── WaitTimeoutError              a wait or step with `timeout=` took longer
│   └── WaitpointTimeoutError     nobody completed the token in time
├── BatchTriggerError             some or all items of a batch have no run
├── PayloadError                  the payload does not fit the task
├── OutputError                   the returned value has no JSON form
├── OutOfMemoryError              raised by user code: the run needs more memory
└── AbortTaskRunError             raised by user code: fail now, no more attempts

Interrupt (BaseException)         `except Exception` does not catch these
├── NonDeterministicReplayError   the code took another way than its journal
├── MaxDurationExceeded           the run will be ended in a few seconds
├── CompleteTaskWithOutput        raised by user code: end now, with this output
├── Restart                       raised by user code: begin again, with an empty journal
└── RunInterrupted                the run is canceled or handed back: unwind

BlockingCallWarning (UserWarning) a `_sync` call on a running event loop
"""

from typing import Literal

from outlast.client.errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    OutlastError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    SettingsError,
    TransportError,
    UnprocessableError,
    UsageError,
)
from outlast.protocol import outcomes

__all__ = [
    "AbortTaskRunError",
    "ApiError",
    "AuthenticationError",
    "BadRequestError",
    "BatchTriggerError",
    "BlockingCallWarning",
    "CompleteTaskWithOutput",
    "ConflictError",
    "ForeignCallError",
    "Interrupt",
    "MaxDurationExceeded",
    "NonDeterministicReplayError",
    "NotFoundError",
    "OutOfMemoryError",
    "OutlastError",
    "OutputError",
    "OutsideRunError",
    "PayloadError",
    "PermissionDeniedError",
    "RateLimitError",
    "Restart",
    "RunCanceled",
    "RunError",
    "RunExpired",
    "RunFailed",
    "RunInterrupted",
    "RunTimedOut",
    "ServerError",
    "SettingsError",
    "StepError",
    "TransportError",
    "UnprocessableError",
    "UsageError",
    "WaitInStepError",
    "WaitTimeoutError",
    "WaitpointTimeoutError",
    "run_error",
]


class OutsideRunError(UsageError):
    """The call needs a run; outside a task there is none."""


class ForeignCallError(UsageError):
    """The call came from a thread or an event loop that the run does not own."""


class WaitInStepError(UsageError):
    """A wait, child or step inside the body of a step cannot be replayed."""


class BlockingCallWarning(UserWarning):
    """A `_sync` call blocks the event loop it was made on."""


class OutsideRunWarning(UserWarning):
    """Metadata or tags were changed where no run is: nothing happened."""


class EndedError(OutlastError):
    """Something ended with an error that travelled as data."""

    def __init__(self, message: str, *, error: outcomes.RunError) -> None:
        super().__init__(message)
        self.message = error.message
        self.type = error.type
        self.kind = error.kind
        self.data = error.data
        self.stack = error.stack
        self.causes = error.causes


class RunError(EndedError):
    """A run ended without an output.

    `type`, `message`, `data` (JSON text) and `stack` are those of the error that ended it.
    """

    def __init__(
        self, message: str, *, error: outcomes.RunError, run_id: str = "", task: str = ""
    ) -> None:
        super().__init__(message, error=error)
        self.run_id = run_id
        self.task = task


class RunFailed(RunError):  # noqa: N818 - named after what happened to the run
    """The run failed, crashed, or could not start."""


class RunCanceled(RunError):  # noqa: N818
    """The run was canceled."""


class RunTimedOut(RunError):  # noqa: N818
    """The run exceeded its `max_duration`, or the caller's `timeout` for it passed."""


class RunExpired(RunError):  # noqa: N818
    """The run was not started within its `ttl`."""


class StepError(EndedError):
    """The function of a step raised.

    `type`, `message` and `data` are those of its error. The original is `__cause__` on the first
    pass only: decide by `type`, which a replay knows too.
    """

    def __init__(self, message: str, *, error: outcomes.RunError, step: str) -> None:
        super().__init__(message, error=error)
        self.step = step


class WaitTimeoutError(OutlastError):
    """A wait or step took longer than its `timeout`."""


class WaitpointTimeoutError(WaitTimeoutError, EndedError):
    """Nobody completed the waitpoint token in time."""


class BatchTriggerError(OutlastError):
    """A batch could not be created, or not all of its items.

    `phase` is "create" when there is no batch (`batch_id` is None), "stream" when its `item_count`
    items did not all become runs: `refusals` holds (index, code, message) of those that the server
    refused. `is_rate_limited`: try again in `retry_after` seconds, where the server said when.
    """

    def __init__(
        self,
        message: str,
        *,
        phase: Literal["create", "stream"],
        item_count: int,
        batch_id: str | None = None,
        refusals: tuple[tuple[int, str, str], ...] = (),
        retry_after: float | None = None,
        is_rate_limited: bool = False,
    ) -> None:
        super().__init__(message)
        self.phase: Literal["create", "stream"] = phase
        self.item_count = item_count
        self.batch_id = batch_id
        self.refusals = refusals
        self.retry_after = retry_after
        self.is_rate_limited = is_rate_limited


class PayloadError(OutlastError):
    """The payload does not fit the task; the message names the fields, never the values."""


class OutputError(OutlastError):
    """The value that a task or step returned has no JSON form, or not the declared one."""


class AbortTaskRunError(OutlastError):
    """Raise it to fail the run at once, without another attempt."""


class OutOfMemoryError(OutlastError):
    """Raise it when the run lacks memory; `Retry(out_of_memory=...)` names the next machine."""


class Interrupt(BaseException):
    """Not an error of the code: the run ends or pauses here, and `except Exception` stays out."""


class NonDeterministicReplayError(Interrupt):
    """The code took another way than its journal tells; the run is parked, not failed."""


class MaxDurationExceeded(Interrupt):
    """The run has used up its `max_duration`; its process is ended in a few seconds."""


class CompleteTaskWithOutput(Interrupt):
    """Raise it anywhere in a task to end the run at once, as a success with this output."""

    def __init__(self, output: object = None) -> None:
        super().__init__("the run completes with an output")
        self.output = output


class Restart(Interrupt):
    """Raise it anywhere in a task to begin the run again under its id, with an empty journal.

    `payload` is what the next generation is called with, and is stored in place of this one's. The
    way out for loops without an end and for journals near their limit.
    """

    def __init__(self, payload: object = None) -> None:
        super().__init__("the run begins again")
        self.payload = payload


class RunInterrupted(Interrupt):
    """The run is canceled or handed back to another worker: unwind now."""


_BY_KIND: dict[str, tuple[type[RunError], str]] = {
    "canceled": (RunCanceled, "was canceled"),
    "timed_out": (RunTimedOut, "timed out"),
    "expired": (RunExpired, "expired before it started"),
}


def run_error(error: outcomes.RunError, *, run_id: str = "", task: str = "") -> RunError:
    """Return the exception for how a run ended."""
    cls, verb = _BY_KIND.get(error.kind, (RunFailed, "failed"))
    name = f"run {run_id or '(none)'}" + (f" of {task}" if task else "")
    return cls(
        f"{name} {verb}: {error.type}: {error.message}", error=error, run_id=run_id, task=task
    )
