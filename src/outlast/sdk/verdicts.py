"""What a `catch_error` hook may say about a failed attempt."""

from dataclasses import dataclass
from datetime import datetime

from outlast.sdk.durations import Duration, moment, seconds
from outlast.sdk.errors import UsageError
from outlast.sdk.retry import Retry


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What follows a failed attempt, in place of the task's policy.

    `skip_retrying`: nothing, the run fails. `retry_at` or `retry_in`: another attempt then.
    `retry`: another policy decides. `error`: the run failed of this instead; alone, or with
    `skip_retrying`, there is no other attempt. The limit of attempts holds whatever is said.
    """

    skip_retrying: bool = False
    retry_at: datetime | None = None
    retry_in: Duration | None = None
    retry: Retry | None = None
    error: BaseException | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        said = (self.skip_retrying, self.retry_at, self.retry_in, self.retry)
        if sum(part is not None and part is not False for part in said) > 1:
            raise UsageError(
                "a Verdict says one of skip_retrying, retry_at, retry_in and retry, not several"
            )
        if self.retry_at is not None:
            moment(self.retry_at, "retry_at of a Verdict")
        if self.retry_in is not None:
            seconds(self.retry_in, "retry_in of a Verdict")

    def __bool__(self) -> bool:
        return self != Verdict()
