"""Wait in tests for something to become true, with a deadline instead of a sleep."""

import asyncio
import time
from collections.abc import Callable


async def until(condition: Callable[[], object], *, seconds: float = 10.0, what: str = "") -> None:
    """Return when `condition` holds. Raises `AssertionError` after `seconds`.

    The last look is after the deadline: a machine that stood still meanwhile changes nothing.
    """
    deadline = time.monotonic() + seconds
    is_last = False
    while not condition():
        if is_last:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        await asyncio.sleep(0.01)
        is_last = time.monotonic() > deadline
