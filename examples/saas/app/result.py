"""What an action answers: a value or a named refusal. Exceptions are for what nobody expects."""

from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

Value = TypeVar("Value")
ErrorCode = Literal["forbidden", "refused", "unavailable"]


@dataclass(frozen=True, slots=True)
class Ok(Generic[Value]):
    """It worked."""

    value: Value


@dataclass(frozen=True, slots=True)
class Err:
    """It did not; `message` may be shown to the user."""

    code: ErrorCode
    message: str


Result: TypeAlias = Ok[Value] | Err
