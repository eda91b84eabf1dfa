"""Give way in long computations: other runs of the executor go on, a cancel is heard."""

import asyncio

from outlast.sdk.inside import required


async def yield_() -> None:
    """Let other code of the event loop run, inside a task. A cancel is raised here."""
    required("heartbeats.yield_()", "use asyncio.sleep(0) elsewhere")
    await asyncio.sleep(0)


def yield_sync() -> None:
    """Raise the cancel of the run, if there is one, in a `def` task."""
    required("heartbeats.yield_sync()").context.raise_if_cancelled()
