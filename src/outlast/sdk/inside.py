"""Reach the run that a call belongs to, or say what to use where there is none."""

from outlast.sdk import runtime
from outlast.sdk.errors import OutsideRunError
from outlast.sdk.runtime import Runtime

_PREVIEW = 200


def required(name: str, instead: str = "call it from inside a task") -> Runtime:
    """Return the current runtime. Raises `OutsideRunError` naming what to do instead."""
    run = runtime.current()
    if run is None:
        raise OutsideRunError(f"{name} works inside a task only; {instead}")
    return run


def preview(text: str | None) -> str:
    """Return the beginning of a payload, for people who compare entries."""
    return (text or "")[:_PREVIEW]
