"""What an executor says at the end of a run: its output, or why it failed and what comes next."""

from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from outlast import backoff
from outlast.protocol.frames import Kind
from outlast.protocol.manifests import RetryPolicy
from outlast.protocol.messages import Claim, Complete, Fail
from outlast.protocol.outcomes import RunError
from outlast.sdk.failures import describe
from outlast.sdk.task import Task
from outlast.worker import failures
from outlast.worker.journal import Journal


@dataclass(frozen=True)
class Returned:
    """The function returned; `output` is JSON text."""

    output: str | None


Ending = Returned | BaseException


class Ended(Protocol):
    """A run whose code has ended."""

    claim: Claim
    task: Task[Any, Any]
    journal: Journal
    cancel_reason: str | None
    lost: BaseException | None


def frame_of(run: Ended, result: Ending) -> tuple[Kind, Complete | Fail]:
    """Return kind and body of a run's last frame."""
    if run.lost is not None:
        return Kind.FAIL, _failure(run, run.lost)
    if isinstance(result, Returned):
        return Kind.COMPLETE, Complete(result.output)
    return Kind.FAIL, _failure(run, result)


def _failure(run: Ended, error: BaseException) -> Fail:
    described = describe(error)
    if described.kind == "replay":
        return Fail(described)
    if run.cancel_reason is not None:
        return Fail(RunError("canceled", type(error).__name__, run.cancel_reason))
    if described.kind in failures.NEVER_RETRIED or run.task.gives_up_on(error):
        return Fail(described)
    retry_in = backoff.delay(_policy(run.claim), run.claim.facts.attempt)
    return Fail(described, retry_in, _culprits(run.journal, error))


def _culprits(journal: Journal, error: BaseException) -> tuple[str, ...]:
    """Return the entries whose failure ended the attempt: the next one does them again."""
    found = list(failures.culprits(error))
    return tuple(
        item.wire
        for item in journal.failed()
        if item.outcome is not None
        and any(failures.is_failure_of(failure, item.outcome) for failure in found)
    )


def _policy(claim: Claim) -> RetryPolicy:
    policy = msgspec.json.decode(claim.retry, type=RetryPolicy) if claim.retry else RetryPolicy()
    return msgspec.structs.replace(policy, max_attempts=claim.facts.max_attempts)
