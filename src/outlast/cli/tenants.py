"""The tenants of a database, for commands that run without a server."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from outlast.cli.folder import Folder
from outlast.cli.secret import resolve
from outlast.cli.terminal import Stop
from outlast.engine.database import Database, DatabaseSettings
from outlast.engine.ids import Ids
from outlast.engine.keys import KeyRing, Keys
from outlast.engine.migrations import migrate
from outlast.engine.tenancy import Tenancy
from outlast.engine.users import Users


class Tenants(NamedTuple):
    """Projects and environments, their keys, and the people who look at them."""

    tenancy: Tenancy
    keys: Keys
    users: Users


@asynccontextmanager
async def tenants(database_url: str | None) -> AsyncIterator[Tenants]:
    """Open the tenants of a database, by default those of this folder's `outlast dev`."""
    folder = Folder(Path.cwd())
    async with AsyncExitStack() as stack:
        if database_url:
            url, encryption_keys = resolve(database_url, "--database-url"), _encryption_keys()
        elif folder.path.is_dir():
            from outlast.engine.embedded import embedded

            url = await stack.enter_async_context(embedded(folder.path))
            encryption_keys = _encryption_keys(folder.encryption_key())
        else:
            raise Stop(
                "which database? set OUTLAST_DATABASE_URL, or start in a folder of outlast dev"
            )
        database = await stack.enter_async_context(
            await Database.open(DatabaseSettings(url=url, pool_size=2))
        )
        await migrate(database)
        keys = Keys(database, KeyRing(encryption_keys))
        ids = Ids(database)
        await ids.learn()
        yield Tenants(Tenancy(database, keys), keys, Users(database, ids))


def _encryption_keys(own: str = "") -> tuple[str, ...]:
    given = resolve(os.environ.get("OUTLAST_ENCRYPTION_KEYS", ""), "OUTLAST_ENCRYPTION_KEYS")
    return tuple(key.strip() for key in (given or own).split(",") if key.strip())
