"""What follows a failed attempt: the policy's answer, unless a `catch_error` hook knows better.

Nothing is called here: whoever runs the code of the user calls the hooks one after the other, with
`values`, and tells what each returned or raised, until `is_open` is false.
"""

import signal
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from subprocess import CalledProcessError
from typing import Any, Protocol

import msgspec

from outlast import backoff
from outlast.client.requests import told_wait
from outlast.protocol.manifests import RetryPolicy
from outlast.protocol.messages import Claim, Fail
from outlast.protocol.outcomes import RunError
from outlast.sdk.durations import moment, seconds
from outlast.sdk.errors import ApiError, RateLimitError, UsageError
from outlast.sdk.failures import describe
from outlast.sdk.retry import Retry
from outlast.sdk.task import Task
from outlast.sdk.verdicts import Verdict
from outlast.worker import failures
from outlast.worker.journal import Journal

_CLIENT_ERRORS = range(400, 500)
_PASSING = frozenset({408, 429})
"""Statuses of the 4xx that another attempt may not meet."""
_UNJUDGED = backoff.NEVER_RETRIED
_policies = msgspec.json.Decoder(RetryPolicy)


class Failed(Protocol):
    """A run whose code has failed."""

    claim: Claim
    task: Task[Any, Any]
    journal: Journal
    cancel_reason: str | None


class Judgement:
    """What one failed attempt leads to."""

    def __init__(self, run: Failed, error: BaseException) -> None:
        self._claim = run.claim
        self._journal = run.journal
        self._cancel_reason = run.cancel_reason
        self._error = error
        self._described = describe(error)
        self._policy = policy_of(run.claim)
        if _was_killed(error) and self._policy.out_of_memory not in (None, run.claim.facts.machine):
            self._described = msgspec.structs.replace(self._described, kind="out_of_memory")
        gives_up = _is_refusal(error) or run.task.gives_up_on(error)
        self._again = None if gives_up else self._after(self._policy)
        if self._again is not None and isinstance(error, RateLimitError):
            told = told_wait(error.headers, datetime.now(UTC).timestamp())
            self._again = self._again._replace(delay=self._again.delay if told is None else told)
        self.is_open = (
            run.cancel_reason is None
            and self._described.kind not in _UNJUDGED
            and not _is_refusal(error)
        )
        """Whether `catch_error` hooks are asked: not for what nobody can change."""

    @property
    def values(self) -> Mapping[str, object]:
        """What a `catch_error` hook may take, besides what every hook may."""
        delay = None if self._again is None else self._again.delay
        at = None if delay is None else datetime.now(UTC) + timedelta(seconds=delay)
        policy = msgspec.structs.asdict(self._policy)
        return {"error": self._error, "retry": Retry(**policy), "retry_at": at, "retry_in": delay}

    def hear(self, said: object) -> None:
        """Take what a hook returned. The first verdict that says something counts."""
        if said is None:
            return
        if not isinstance(said, Verdict):
            self.broken(
                UsageError(f"catch_error returned a {type(said).__name__}; return a Verdict")
            )
        elif said:
            self.is_open = False
            self._take(said)

    def broken(self, raised: BaseException) -> None:
        """Take what a hook raised: the run crashes, and says of both."""
        self.is_open = False
        told = describe(raised)
        first = f"{self._described.type}: {self._described.message}"
        self._described = msgspec.structs.replace(
            told, kind="crashed", causes=(*told.causes, f"catch_error was called for {first}")
        )
        self._again = None

    def fail(self) -> Fail:
        """Return the last frame of the attempt."""
        if self._described.kind == "replay":
            return Fail(self._described)
        if self._cancel_reason is not None:
            kind = type(self._error).__name__
            return Fail(RunError("canceled", kind, self._cancel_reason))
        if self._again is None:
            return Fail(self._described)
        delay, machine = self._again
        return Fail(self._described, delay, _culprits(self._journal, self._error), machine)

    def _after(self, policy: RetryPolicy) -> backoff.Again | None:
        facts = self._claim.facts
        return backoff.after(policy, facts.attempt, self._described, facts.machine)

    def _take(self, said: Verdict) -> None:
        if said.error is not None:
            self._described = describe(said.error)
            self._error = said.error
        facts = self._claim.facts
        if said.retry is not None:
            most = min(said.retry.max_attempts, facts.max_attempts)
            self._again = self._after(
                msgspec.structs.replace(said.retry.policy(), max_attempts=most)
            )
        elif said.retry_at is not None or said.retry_in is not None:
            self._again = None
            if facts.attempt < facts.max_attempts:
                self._again = backoff.Again(_pause(said))
        else:
            self._again = None


def policy_of(claim: Claim) -> RetryPolicy:
    """Return the policy of a run, overrides included."""
    policy = _policies.decode(claim.retry) if claim.retry else RetryPolicy()
    return msgspec.structs.replace(policy, max_attempts=claim.facts.max_attempts)


def _pause(said: Verdict) -> float:
    if said.retry_at is not None:
        at = moment(said.retry_at, "retry_at")
        return max(0.0, at - datetime.now(UTC).timestamp())
    assert said.retry_in is not None
    return seconds(said.retry_in, "retry_in")


def _is_refusal(error: BaseException) -> bool:
    """Say whether a server said no in a way that another attempt would hear again."""
    return (
        isinstance(error, ApiError)
        and error.status in _CLIENT_ERRORS
        and error.status not in _PASSING
    )


def _was_killed(error: BaseException) -> bool:
    """Say whether a program that the code called was ended by SIGKILL: most likely for its memory.

    137 is what a shell makes of it.
    """
    return isinstance(error, CalledProcessError) and error.returncode in (-signal.SIGKILL, 137)


def _culprits(journal: Journal, error: BaseException) -> tuple[str, ...]:
    """Return the entries whose failure ended the attempt: the next one does them again."""
    found = list(failures.culprits(error))
    return tuple(
        item.wire
        for item in journal.failed()
        if item.outcome is not None
        and any(failures.is_failure_of(failure, item.outcome) for failure in found)
    )
