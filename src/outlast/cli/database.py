"""The database of `outlast dev`: the one that was named, or a PostgreSQL of the project's own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from outlast.cli.folder import Folder
from outlast.cli.terminal import progress


@asynccontextmanager
async def database(folder: Folder, given: str | None) -> AsyncIterator[str]:
    """Give the URL of a database that answers, for the length of the block."""
    if given:
        yield given
        return
    from outlast.engine.embedded import embedded

    async with AsyncExitStack() as stack:
        with progress("starting PostgreSQL"):
            url = await stack.enter_async_context(embedded(folder.path))
        yield url
