"""A worker that follows the code, as `outlast dev` does it for a project without an app."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from watchfiles import PythonFilter, awatch

from app.settings import ROOT
from local.show import Show
from local.stack import Stack


@asynccontextmanager
async def followed(stack: Stack, show: Show) -> AsyncIterator[None]:
    """Stop the worker when code changes, for as long as the block lasts.

    Who keeps it alive starts another, and what it had begun goes on there.
    """
    following = asyncio.create_task(_follow(stack, show))
    try:
        yield
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def _follow(stack: Stack, show: Show) -> None:
    async for changes in awatch(ROOT / "trigger", ROOT / "app", watch_filter=PythonFilter()):
        names = sorted(path.removeprefix(f"{ROOT}/") for _, path in changes)
        show.line(f"{', '.join(names[:3])} changed: the worker starts anew", "yellow")
        await stack.worker.stop()
