"""The roster: who works in an environment, read for people."""

from datetime import datetime

import msgspec

from outlast.engine.database import Database
from outlast.engine.queries import load

ROSTER = load("roster")


class Worker(msgspec.Struct, frozen=True):
    """A connected worker; `id` is its session's."""

    id: str
    name: str
    host: str
    pid: int
    version: str
    created_at: datetime
    heartbeat_at: datetime
    vitals: str | None
    """`Vitals` as JSON; None until the worker said how it is."""


async def workers(database: Database, environment: str) -> list[Worker]:
    """Return the workers of an environment, the one that came first first."""
    return await database.fetch(Worker, ROSTER.list_workers, environment=environment)
