"""Work that a run starts and waits for after everything else: `wait_until(flush())`."""

import concurrent.futures
from collections.abc import Awaitable
from typing import Any

from outlast.sdk.inside import required


def wait_until(work: Awaitable[object] | concurrent.futures.Future[Any]) -> None:
    """Keep the run alive for background work, at most 60 s after its hooks, inside a task.

    In an `async def` task the work begins at once. In a `def` task a future of a thread pool goes
    on beside the function; an awaitable begins when the function has returned. What the work
    raises is logged.
    """
    required("wait_until()", "await the work itself elsewhere").keep(work)
