"""Queues as their owners see and steer them: pause, limits, keys; and an environment's pause."""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

import msgspec

from outlast.engine.catalogue import CATALOGUE, TASK_QUEUE, Catalogue
from outlast.engine.database import Database
from outlast.engine.errors import InvalidRequest, NotFound
from outlast.engine.queries import Statement, load
from outlast.engine.tenancy import Tenancy

QUEUES = load("queues")

QueueType = Literal["id", "task", "custom"]

MAX_LIMIT = 100_000


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue as it stands.

    `concurrency_limit` is what counts per key: the override, else what code declares, and never
    more than the environment has.
    """

    id: str
    name: str
    queued: int
    running: int
    paused: bool
    concurrency_limit: int | None
    declared_limit: int | None
    override_limit: int | None
    overridden_at: datetime | None
    overridden_by: str | None
    total_limit: int | None
    max_queued: int | None
    rate_interval: float | None
    rate_burst: int
    rate_per_key: bool


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One concurrency key of a queue. `since`: when the run at its head was queued."""

    key: str
    queued: int
    running: int
    fairness_group: str | None
    since: datetime | None
    moment: datetime

    @property
    def oldest_wait(self) -> float | None:
        """Seconds that the run at the head has waited."""
        return _wait(self.since, self.moment)


class Stand(msgspec.Struct, frozen=True):
    """An environment's limits and what counts towards them.

    Ended runs are kept for `retention_days`; None: for ever. Logs and streams go before them.
    """

    id: str
    concurrency_limit: int
    burst_factor: float
    paused: bool
    running: int
    queued: int
    retention_days: int | None
    log_days: int | None
    stream_days: int | None


class _Oldest(msgspec.Struct, frozen=True):
    since: datetime | None
    moment: datetime


class _Run(msgspec.Struct, frozen=True):
    run_id: str


class Queues:
    """Reads and changes queues. A change counts from the next turn on, on every server."""

    def __init__(
        self,
        database: Database,
        *,
        catalogue: Catalogue,
        tenancy: Tenancy,
        wake: Callable[[str], None],
        tell: Callable[[str], None],
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._tenancy = tenancy
        self._wake = wake
        self._tell = tell

    async def page(
        self, environment_id: str, *, limit: int, offset: int = 0
    ) -> tuple[list[Queue], int]:
        """Return a page of queues by name, and how many there are."""
        rows = await self._database.fetch(
            Queue, QUEUES.list_page, environment_id=environment_id, limit=limit, offset=offset
        )
        count = await self._database.fetch_value(QUEUES.count_queues, environment_id=environment_id)
        assert isinstance(count, int)
        return rows, count

    async def retrieve(
        self, environment_id: str, name: str, queue_type: QueueType = "custom"
    ) -> Queue:
        """Return a queue by its id, its task or its name. Raises `NotFound`."""
        if queue_type == "id":
            found = await self._database.fetch_one(
                Queue, QUEUES.find_by_id, environment_id=environment_id, id=name
            )
        else:
            found = await self._database.fetch_one(
                Queue,
                QUEUES.find,
                environment_id=environment_id,
                name=f"{TASK_QUEUE}{name}" if queue_type == "task" else name,
            )
        if found is None:
            raise NotFound(
                f"there is no queue {name!r} in this environment; `outlast queues list` shows them"
            )
        return found

    async def pause(self, environment_id: str, queue: Queue, *, paused: bool) -> Queue:
        """Let nothing start, nor go on after a wait that gave its slot back; or end such a pause.

        What runs is not touched.
        """
        return await self._change(environment_id, queue, QUEUES.pause, paused=paused)

    async def override(
        self, environment_id: str, queue: Queue, limit: int, *, by: str | None = None
    ) -> Queue:
        """Set the limit per key until it is reset, whatever deployments declare."""
        if not 0 <= limit <= MAX_LIMIT:
            raise InvalidRequest(
                f"a concurrency limit is 0 to {MAX_LIMIT:,}, not {limit}", param="concurrencyLimit"
            )
        return await self._change(
            environment_id, queue, QUEUES.override, limit=limit, overridden_by=by
        )

    async def reset(self, environment_id: str, queue: Queue) -> Queue:
        """Let the declared limit count again. Raises `InvalidRequest` without an override."""
        if queue.override_limit is None:
            raise InvalidRequest(f"queue {queue.name!r} has no override to reset")
        return await self._change(environment_id, queue, QUEUES.reset)

    async def keys(
        self, environment_id: str, queue: Queue, *, limit: int, after: str | None = None
    ) -> list[Key]:
        """Return a page of the keys that have runs. The runs without a key have the key ''."""
        return await self._database.fetch(
            Key,
            QUEUES.list_keys,
            environment_id=environment_id,
            name=queue.name,
            after=after,
            limit=limit,
        )

    async def oldest_wait(self, environment_id: str, queue: Queue) -> float | None:
        """Return seconds since the oldest head of a lane was queued; None: nothing waits."""
        found = await self._database.fetch_one(
            _Oldest, QUEUES.oldest, environment_id=environment_id, name=queue.name
        )
        return None if found is None else _wait(found.since, found.moment)

    async def stand(self, environment_id: str) -> Stand:
        """Return an environment's limits. Raises `NotFound`."""
        found = await self._database.fetch_one(
            Stand, QUEUES.environment, environment_id=environment_id
        )
        if found is None:
            raise NotFound(f"there is no environment {environment_id!r}")
        return found

    async def change_environment(
        self,
        environment_id: str,
        *,
        paused: bool | None = None,
        concurrency_limit: int | None = None,
        burst_factor: float | None = None,
    ) -> Stand:
        """Pause an environment or let it go on; change its limits."""
        await self._tenancy.change(
            environment_id,
            paused=paused,
            concurrency_limit=concurrency_limit,
            burst_factor=burst_factor,
        )
        self._changed(environment_id)
        return await self.stand(environment_id)

    async def reset_key(self, environment_id: str, task: str, key: str) -> str:
        """Forget an idempotency key; return the run that held it. Raises `NotFound`."""
        found = await self._database.fetch_one(
            _Run, QUEUES.reset_key, environment_id=environment_id, task=task, key=key
        )
        if found is None:
            raise NotFound(f"no run of task {task!r} holds this idempotency key")
        return found.run_id

    async def reset_key_of_run(self, environment_id: str, run: str) -> None:
        """Forget the idempotency key that a run holds. Raises `NotFound`."""
        found = await self._database.fetch_one(
            _Run, QUEUES.reset_key_of_run, environment_id=environment_id, run=run
        )
        if found is None:
            raise NotFound(f"run {run!r} holds no idempotency key, or not any more")

    async def _change(
        self, environment_id: str, queue: Queue, statement: Statement, **values: object
    ) -> Queue:
        async with self._database.transaction() as executor:
            await executor.execute(QUEUES.lock, environment_id=environment_id)
            await executor.execute(
                statement, environment_id=environment_id, name=queue.name, **values
            )
            await executor.execute(
                CATALOGUE.reopen_lanes, environment_id=environment_id, queues=[queue.name]
            )
        self._changed(environment_id)
        return await self.retrieve(environment_id, queue.name)

    def _changed(self, environment_id: str) -> None:
        self._catalogue.forget(environment_id)
        self._wake(environment_id)
        self._tell(environment_id)


def _wait(since: datetime | None, moment: datetime) -> float | None:
    return None if since is None else max(0.0, (moment - since).total_seconds())
