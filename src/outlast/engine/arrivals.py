"""Parked runs go on when a version comes that declares their task and queue."""

import msgspec

from outlast.engine.admission import own_queue, run_duration, run_retry, run_ttl
from outlast.engine.catalogue import Catalogue, Offer
from outlast.engine.cycles import Cycles
from outlast.engine.database import Database
from outlast.engine.queries import load
from outlast.engine.tenancy import Environment, Tenancy
from outlast.engine.turn import Arrival

QUEUES = load("queues")

_PORTION = 500


class _Parked(msgspec.Struct, frozen=True):
    id: str
    task: str
    queue: str
    retry: str
    ttl: float | None
    max_duration: float | None
    machine: str | None


class _Said(msgspec.Struct, frozen=True):
    max_attempts: int | None = None


_said = msgspec.json.Decoder(_Said)


class Arrivals:
    """Looks at the parked runs of an environment whenever its version changes."""

    def __init__(
        self, database: Database, *, catalogue: Catalogue, tenancy: Tenancy, cycles: Cycles
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._tenancy = tenancy
        self._cycles = cycles

    async def look(self, environment_id: str) -> int:
        """Queue the parked runs that fit the current version; return how many."""
        environment = await self._tenancy.environment_by_id(environment_id)
        offer = await self._catalogue.offer(environment_id, fresh=True)
        if environment is None or offer is None:
            return 0
        names = {queue.name for queue in await self._catalogue.queues(environment_id)}
        count, after = 0, ""
        while True:
            parked = await self._database.fetch(
                _Parked,
                QUEUES.list_parked,
                environment_id=environment_id,
                after=after,
                limit=_PORTION,
            )
            found = [_arrival(environment, offer, names, run) for run in parked]
            arrived = [one for one in found if one is not None]
            for one in arrived:
                self._cycles.submit(environment_id, one)
            count += len(arrived)
            if len(parked) < _PORTION:
                return count
            after = parked[-1].id


def _arrival(
    environment: Environment, offer: Offer, names: set[str], run: _Parked
) -> Arrival | None:
    task = offer.tasks.get(run.task)
    if task is None:
        return None
    queue = task.queue if run.queue == own_queue(run.task) else run.queue
    if queue != task.queue and queue not in names:
        return None
    return Arrival(
        run=run.id,
        queue=queue,
        executor="dedicated" if run.machine or task.machine else task.executor,
        retry=run_retry(task, _said.decode(run.retry).max_attempts),
        ttl=run_ttl(environment, task, run.ttl),
        max_duration=run_duration(task, run.max_duration),
    )
