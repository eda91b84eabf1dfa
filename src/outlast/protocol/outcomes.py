"""How something ended: a value as JSON text, or an error as data. Errors are never pickled."""

from typing import Literal

import msgspec

ErrorKind = Literal[
    "raised",  # user code raised: retried by the task's policy
    "aborted",  # AbortTaskRunError: never retried
    "payload",  # the payload does not fit the task
    "output",  # the returned value has no JSON form
    "crashed",  # the executor died under the run
    "out_of_memory",  # raised or measured; `type` says when it is only suspected
    "timed_out",  # max_duration
    "canceled",
    "expired",
    "replay",  # cannot replay on this version: the run is parked, not failed
    "system",  # the platform's own fault; the message says what to do
]

MAX_MESSAGE = 1_000
"""Longest error message that is stored, in characters."""
MAX_FRAMES = 50
"""Most frames of a stored traceback: the first 5 and the last 45."""
MAX_LINE = 1_024
"""Longest line of a stored traceback, in characters."""
SUSPECTED = "OutOfMemorySuspected"
"""The `type` of an end by SIGKILL that was not ours: most likely the kernel was out of memory."""
WORKER_LOST = "WorkerLost"
"""The `type` of the end of a run that was lost with its worker once too often."""
UNKNOWN_TASK = "UnknownTask"
"""The `type` of the end of a run whose task the code of its worker does not have."""


class RunError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an attempt, step or child failed, as data that travels and is stored."""

    kind: ErrorKind
    type: str
    message: str
    stack: str = ""
    data: str | None = None  # JSON text a caller may attach
    causes: tuple[str, ...] = ()  # "Type: message" of the __cause__ chain and a group's members
    line: str = ""  # "file:line in function", the innermost line of the user's code


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """The end of a step, child, batch member or wait."""

    ok: bool
    value: str | None = None  # JSON text; None is "no value", which reads as None
    error: RunError | None = None
    run_id: str | None = None  # the child's, when there is one
    task: str | None = None
    members: tuple["Outcome", ...] | None = None  # a batch's, in the order of its items
