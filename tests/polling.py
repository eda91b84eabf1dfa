"""Wait in tests for something to become true, with a deadline instead of a sleep."""

import asyncio
import time
from collections.abc import Callable


async def until(condition: Callable[[], object], *, seconds: float = 10.0, what: str = "") -> None:
    """Return when `condition` holds. Raises `AssertionError` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        await asyncio.sleep(0.01)
