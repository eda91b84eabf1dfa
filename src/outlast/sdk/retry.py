"""When a failed attempt is tried again."""

from dataclasses import dataclass

from outlast.protocol.machines import PRESETS
from outlast.protocol.manifests import MAX_ATTEMPTS, RetryPolicy
from outlast.sdk.durations import Duration, seconds
from outlast.sdk.errors import UsageError


@dataclass(frozen=True, slots=True)
class Retry:
    """The retry policy of a task; `max_attempts` counts the first try.

    Errors in `give_up_on` fail the run at once. Inside a task a failing step raises `StepError`, so
    an error of a step is named by its own class here, or decided by `StepError.type` in the code.
    `out_of_memory` names a larger machine: a run that lacked memory gets one more attempt on it.
    """

    max_attempts: int = 3
    factor: float = 2.0
    min_timeout: Duration = 1.0
    max_timeout: Duration = 60.0
    randomize: bool = True
    give_up_on: tuple[type[BaseException], ...] = ()
    out_of_memory: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work, here and not in the worker."""
        if not 1 <= self.max_attempts <= MAX_ATTEMPTS:
            raise UsageError(
                f"max_attempts must be between 1 and {MAX_ATTEMPTS}, not {self.max_attempts}"
            )
        if self.factor <= 0:
            raise UsageError(f"factor must be above 0, not {self.factor}")
        if self.out_of_memory is not None and self.out_of_memory not in PRESETS:
            raise UsageError(
                f"out_of_memory names machine {self.out_of_memory!r}, which does not exist; "
                f"use one of {', '.join(PRESETS)}"
            )
        self.policy()

    def policy(self) -> RetryPolicy:
        """Return the policy as data, in seconds."""
        return RetryPolicy(
            max_attempts=self.max_attempts,
            factor=float(self.factor),
            min_timeout=seconds(self.min_timeout, "min_timeout"),
            max_timeout=seconds(self.max_timeout, "max_timeout"),
            randomize=self.randomize,
            out_of_memory=self.out_of_memory,
        )

    def gives_up_on(self, error: BaseException) -> bool:
        """Tell whether this error ends the run whatever attempts are left."""
        names = {cls.__name__ for cls in self.give_up_on}
        return isinstance(error, self.give_up_on) or getattr(error, "type", None) in names
