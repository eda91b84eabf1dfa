"""What the workers of an environment offer: versions, their tasks, and the queues.

A read may be slightly old, so the cache may say yes, never no: who would refuse asks again with
`fresh`.
"""

from datetime import datetime

import msgspec

from outlast.engine import cron
from outlast.engine.alerts import Noted, note
from outlast.engine.database import Database, Executor
from outlast.engine.errors import InvalidRequest, NotFound
from outlast.engine.expiring import Expiring
from outlast.engine.queries import load
from outlast.protocol.ids import new_id
from outlast.protocol.manifests import Manifest, QueueManifest, TaskManifest

CATALOGUE = load("catalogue")

TASK_QUEUE = "task/"
"""Prefix of the queue that a task has when it names none."""
SYSTEM_QUEUES = "outlast/"
"""Prefix of queues that no list shows and nobody declares: no limit and no pause holds them."""
MAX_TASK_CHARS = 512
MAX_QUEUE_CHARS = 200
MAX_NAME_BYTES = 600
"""Names stand in indexes, whose rows hold 2,704 bytes."""
ELECTION_SECONDS = 60.0
"""How long a current version may have no worker before another one takes its place."""
_MAX_TASKS = 10_000
_CURRENT_SECONDS = 2.0
_VERSION_SECONDS = 600.0  # versions never change
_CACHE_SIZE = 256

_manifests = msgspec.json.Decoder(TaskManifest)
_encoder = msgspec.json.Encoder()


class Version(msgspec.Struct, frozen=True):
    """One set of task code, named `YYYYMMDD.N` within its environment."""

    id: str
    environment_id: str
    name: str
    digest: str
    runtime: str
    sdk: str
    created_at: datetime


class Offer(msgspec.Struct, frozen=True):
    """A version with its tasks by id."""

    version: Version
    tasks: dict[str, TaskManifest]


class Queue(msgspec.Struct, frozen=True):
    """A queue as it stands: limits, pause and depths."""

    id: str
    name: str
    concurrency_limit: int | None
    total_limit: int | None
    paused: bool
    queued: int
    running: int


class Registered(msgspec.Struct, frozen=True):
    """What registering a manifest came to."""

    version: Version
    is_new: bool
    is_current: bool


class _Locked(msgspec.Struct, frozen=True):
    pins_versions: bool
    current_version_id: str | None
    day: str
    milliseconds: int
    is_served: bool


class _TaskRow(msgspec.Struct, frozen=True):
    id: str
    manifest: str


class _Id(msgspec.Struct, frozen=True):
    id: str


class _Name(msgspec.Struct, frozen=True):
    name: str


class Catalogue:
    """Versions, tasks and queues of all environments."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._current: Expiring[str, Offer] = Expiring(_CURRENT_SECONDS, _CACHE_SIZE)
        self._named: Expiring[tuple[str, str], Offer] = Expiring(_VERSION_SECONDS, _CACHE_SIZE)
        self._queues: Expiring[str, frozenset[str]] = Expiring(_CURRENT_SECONDS, _CACHE_SIZE)

    async def register(self, environment_id: str, manifest: Manifest) -> Registered:
        """Make a worker's manifest known as a version; the same digest is the same version.

        A new version becomes current at once, in `dev` a known one too. Elsewhere a known one does
        so only while nobody works on the current one, so that a worker that restarts during a
        deployment does not turn it back; `promote` does it on purpose.
        """
        _check(manifest)
        async with self._database.transaction() as executor:
            locked = await executor.fetch_one(
                _Locked, CATALOGUE.lock_environment, environment_id=environment_id
            )
            if locked is None:
                raise NotFound(f"there is no environment {environment_id!r}")
            version = await executor.fetch_one(
                Version,
                CATALOGUE.find_by_digest,
                environment_id=environment_id,
                digest=manifest.digest,
            )
            is_new = version is None
            if version is None:
                version = await _insert(executor, environment_id, manifest, locked)
            is_current = version.id == locked.current_version_id
            if not is_current and (is_new or not locked.pins_versions or not locked.is_served):
                await _promote(executor, version, manifest)
                is_current = True
            if is_new:
                happened = Noted(environment_id, version.id, version.name)
                await note(executor, "alert.deployment.success", [happened])
        self.forget(environment_id)
        return Registered(version, is_new, is_current)

    async def promote(self, environment_id: str, name: str) -> Version:
        """Make a known version the current one, as for going back. Raises `NotFound`."""
        offer = await self.offer(environment_id, name, fresh=True)
        if offer is None:
            raise NotFound(f"there is no version {name!r} in this environment")
        await self._database.execute(
            CATALOGUE.make_current, environment_id=environment_id, version_id=offer.version.id
        )
        self.forget(environment_id)
        return offer.version

    async def elect(self, *, grace: float = ELECTION_SECONDS) -> list[str]:
        """Replace current versions that nobody works on by ones that somebody does.

        Returns the environments that changed. An agent calls this every few seconds: without it new
        runs wait for ever once a deployment went back to older code.
        """
        rows = await self._database.fetch(_Id, CATALOGUE.elect, grace=grace)
        for row in rows:
            self.forget(row.id)
        return [row.id for row in rows]

    def known(self, environment_id: str, name: str | None = None) -> Offer | None:
        """Return a version with its tasks if it need not be read first."""
        if name is None:
            return self._current.get(environment_id)
        return self._named.get((environment_id, name))

    async def offer(
        self, environment_id: str, name: str | None = None, *, fresh: bool = False
    ) -> Offer | None:
        """Return the current version or the one of this name, with its tasks."""
        known = self.known(environment_id, name)
        if known is not None and not (fresh and name is None):
            return known
        if name is None:
            version = await self._database.fetch_one(
                Version, CATALOGUE.find_current, environment_id=environment_id
            )
        else:
            version = await self._database.fetch_one(
                Version, CATALOGUE.find_by_name, environment_id=environment_id, name=name
            )
        if version is None:
            return None
        offer = self._named.get((environment_id, version.name)) or await self._read(version)
        self._named.put((environment_id, version.name), offer)
        if name is None:
            self._current.put(environment_id, offer)
        return offer

    async def version(self, environment_id: str, version_id: str) -> Version:
        """Return a version by its id. Raises `NotFound`."""
        found = await self._database.fetch_one(
            Version, CATALOGUE.find_version, environment_id=environment_id, id=version_id
        )
        if found is None:
            raise NotFound(f"there is no version {version_id!r} in this environment")
        return found

    async def versions(
        self,
        environment_id: str,
        limit: int = 100,
        *,
        after: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[Version]:
        """Return versions, newest first; `after` is the id of the last one of a page."""
        return await self._database.fetch(
            Version,
            CATALOGUE.list_versions,
            environment_id=environment_id,
            after=after,
            since=since,
            until=until,
            limit=limit,
        )

    async def has_queue(self, environment_id: str, name: str, *, fresh: bool = False) -> bool:
        """Return whether the environment has a queue of this name."""
        names = None if fresh else self._queues.get(environment_id)
        if names is None:
            names = frozenset(queue.name for queue in await self.queues(environment_id))
            self._queues.put(environment_id, names)
        return name in names

    async def queues(self, environment_id: str) -> list[Queue]:
        """Return every queue with its depths."""
        return await self._database.fetch(
            Queue, CATALOGUE.list_queues, environment_id=environment_id
        )

    def forget(self, environment_id: str) -> None:
        """Drop what is remembered of an environment, after a change."""
        self._current.drop(environment_id)
        self._queues.drop(environment_id)

    async def _read(self, version: Version) -> Offer:
        rows = await self._database.fetch(_TaskRow, CATALOGUE.list_tasks, version_id=version.id)
        return Offer(version, {row.id: _manifests.decode(row.manifest) for row in rows})


async def _insert(
    executor: Executor, environment_id: str, manifest: Manifest, locked: _Locked
) -> Version:
    version = await executor.fetch_one(
        Version,
        CATALOGUE.insert_version,
        id=new_id("version", locked.milliseconds),
        environment_id=environment_id,
        day=locked.day,
        digest=manifest.digest,
        runtime=manifest.runtime,
        sdk=manifest.sdk,
    )
    assert version is not None
    await executor.execute(
        CATALOGUE.insert_tasks,
        version_id=version.id,
        ids=[task.id for task in manifest.tasks],
        manifests=[_encoder.encode(task).decode() for task in manifest.tasks],
    )
    return version


async def _promote(executor: Executor, version: Version, manifest: Manifest) -> None:
    """Make a version current: its declared limits count from now on."""
    declared = {task.queue: QueueManifest(task.queue) for task in manifest.tasks}
    declared |= {f"{TASK_QUEUE}{task.id}": QueueManifest("") for task in manifest.tasks}
    declared |= {queue.name: queue for queue in manifest.queues}
    names = sorted(name for name in declared if len(name) <= MAX_QUEUE_CHARS)
    rates = [declared[name].rate for name in names]
    changed = await executor.fetch(
        _Name,
        CATALOGUE.upsert_queues,
        environment_id=version.environment_id,
        names=names,
        limits=[declared[name].concurrency_limit for name in names],
        total_limits=[declared[name].total_limit for name in names],
        most_queued=[declared[name].max_queued for name in names],
        intervals=[rate and rate.interval for rate in rates],
        bursts=[1 if rate is None else rate.burst for rate in rates],
        per_keys=[rate is None or rate.per_key for rate in rates],
    )
    if changed:
        await executor.execute(
            CATALOGUE.reopen_lanes,
            environment_id=version.environment_id,
            queues=[row.name for row in changed],
        )
    await executor.execute(
        CATALOGUE.make_current, environment_id=version.environment_id, version_id=version.id
    )


def _check(manifest: Manifest) -> None:
    """Refuse what the tables could not hold, naming it. Raises `InvalidRequest`."""
    if len(manifest.tasks) > _MAX_TASKS:
        raise InvalidRequest(f"a version has at most {_MAX_TASKS:,} tasks")
    _check_unique("task", [task.id for task in manifest.tasks], MAX_TASK_CHARS)
    _check_unique("queue", [queue.name for queue in manifest.queues], MAX_QUEUE_CHARS)
    for task in manifest.tasks:
        _check_unique("queue", [task.queue], MAX_QUEUE_CHARS)
        if (declared := task.schedule) is not None:
            try:
                cron.check(declared.cron, declared.timezone, declared.window)
            except InvalidRequest as error:
                raise InvalidRequest(f"task {task.id}: {error}", param=error.param) from None
    for text in (manifest.digest, manifest.runtime, manifest.sdk):
        _check_unique("version field", [text], MAX_QUEUE_CHARS)
    for queue in manifest.queues:
        if queue.name.startswith(SYSTEM_QUEUES):
            raise InvalidRequest(f"queue {queue.name!r}: {SYSTEM_QUEUES} is kept for the system")
        for limit in (queue.concurrency_limit, queue.total_limit):
            if limit is not None and not 0 <= limit < 2**31:
                raise InvalidRequest(f"queue {queue.name!r}: a limit is 0 or a positive number")


def _check_unique(what: str, names: list[str], longest: int) -> None:
    seen: set[str] = set()
    for name in names:
        if not 0 < len(name) <= longest or "\0" in name or not _is_storable(name):
            raise InvalidRequest(
                f"{what} {name[:80]!r}: a name has 1 to {longest} characters "
                f"and at most {MAX_NAME_BYTES} bytes"
            )
        if name in seen:
            raise InvalidRequest(f"{what} {name!r} is declared twice")
        seen.add(name)


def _is_storable(name: str) -> bool:
    try:
        return len(name.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:
        return False
