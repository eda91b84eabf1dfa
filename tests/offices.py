"""The services around the cycle over one database, and manifests to register."""

import time
from collections.abc import Callable

from outlast.engine.admission import Admission
from outlast.engine.catalogue import Catalogue
from outlast.engine.database import Database
from outlast.engine.keys import KeyRing, Keys
from outlast.engine.queues import Queues
from outlast.engine.tenancy import NewProject, Tenancy
from outlast.engine.tokens import Tokens
from outlast.protocol.manifests import Manifest, QueueManifest, TaskManifest

ENCRYPTION_KEY = KeyRing.generate()


def milliseconds() -> int:
    """Stand in for the database's clock."""
    return int(time.time() * 1000)


class Office:
    """The services with caches of their own, as every server has them."""

    def __init__(
        self,
        database: Database,
        *encryption_keys: str,
        clock: Callable[[], int] = milliseconds,
    ) -> None:
        self.database = database
        self.keys = Keys(database, KeyRing(encryption_keys or (ENCRYPTION_KEY,)))
        self.tenancy = Tenancy(database, self.keys)
        self.tokens = Tokens(database, self.keys, self.tenancy)
        self.catalogue = Catalogue(database)
        self.queues = Queues(
            database,
            catalogue=self.catalogue,
            tenancy=self.tenancy,
            wake=lambda environment: None,
            tell=lambda environment: None,
        )
        self.admission = Admission(database, self.catalogue, clock)

    async def pause(self, environment_id: str, name: str) -> None:
        """Pause a queue."""
        queue = await self.queues.retrieve(environment_id, name)
        await self.queues.pause(environment_id, queue, paused=True)

    async def project(self) -> NewProject:
        """Make a project."""
        return await self.tenancy.create_project("Acme")


def task(
    name: str, *, queue: str | None = None, schema: str | None = None, ttl: float | None = None
) -> TaskManifest:
    """Return the manifest of a task."""
    return TaskManifest(
        id=name,
        executor="shared",
        file="tasks.py",
        function=name,
        queue=queue or f"task/{name}",
        payload_schema=schema,
        ttl=ttl,
    )


def manifest(digest: str, *tasks: TaskManifest, queues: tuple[QueueManifest, ...] = ()) -> Manifest:
    """Return the manifest of a version."""
    return Manifest(digest=digest, tasks=tasks, queues=queues, runtime="python 3.11", sdk="0.1.0")
