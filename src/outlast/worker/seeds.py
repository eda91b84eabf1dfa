"""Chance that a replay repeats: ids, numbers and step tokens from the run's secret seed."""

import hmac
from uuid import UUID

_FRACTION_BITS = 53


def uuid4(seed: bytes, place: str) -> UUID:
    """Return the random id of a place in the run's code."""
    return UUID(bytes=_bytes(seed, "uuid4", place)[:16], version=4)


def random(seed: bytes, place: str) -> float:
    """Return the number in [0, 1) of a place in the run's code."""
    number = int.from_bytes(_bytes(seed, "random", place)[:8]) >> (64 - _FRACTION_BITS)
    return number / (1 << _FRACTION_BITS)


def step_token(seed: bytes, content: str) -> str:
    """Return the text that a vendor may take as the idempotency key of a step.

    `content` names what the step does, not which attempt does it.
    """
    return _bytes(seed, "step", content).hex()[:32]


def _bytes(seed: bytes, purpose: str, place: str) -> bytes:
    return hmac.digest(seed, f"{purpose} {place}".encode(), "sha256")
