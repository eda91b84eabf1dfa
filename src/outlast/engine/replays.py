"""Replays: a new run with what an earlier one was given, on the code of today."""

from collections.abc import Mapping, Sequence

import msgspec

from outlast.engine.database import Database
from outlast.engine.errors import NotFound
from outlast.engine.queries import load
from outlast.engine.tenancy import Environment
from outlast.engine.triggers import Triggers
from outlast.engine.turn import NewRun
from outlast.protocol.manifests import RetryPolicy
from outlast.protocol.triggers import Trigger, Triggered

REPLAYS = load("replays")

_retries = msgspec.json.Decoder(RetryPolicy)


class _Original(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    task: str
    queue: str
    concurrency_key: str | None
    payload: str | None
    payload_type: str
    metadata: str | None
    tags: tuple[str, ...]
    ttl: float | None
    priority: float
    retry: str
    max_duration: float | None
    machine: str | None
    is_test: bool


class Replays:
    """Makes runs again. The new run has no parent, no delay, no idempotency key and no pin."""

    def __init__(self, database: Database, *, triggers: Triggers) -> None:
        self._database = database
        self._triggers = triggers

    async def original(self, environment_id: str, run_id: str) -> Trigger:
        """Return the trigger that makes a run again. Raises `NotFound`."""
        found = await self.originals(environment_id, [run_id])
        if run_id not in found:
            raise NotFound(f"there is no run {run_id[:80]!r} in this environment")
        return found[run_id]

    async def originals(self, environment_id: str, run_ids: Sequence[str]) -> dict[str, Trigger]:
        """Return the triggers that make runs again, by their ids; unknown ids are left out."""
        ids = [run_id for run_id in run_ids if "\0" not in run_id and run_id.isascii()]
        rows = await self._database.fetch(
            _Original, REPLAYS.read_originals, environment_id=environment_id, ids=ids
        )
        return {row.id: _trigger(row) for row in rows}

    async def replay(
        self, environment: Environment, wanted: Mapping[str, Trigger]
    ) -> dict[str, Triggered]:
        """Trigger the replays of runs and return each one's answer."""
        admitted = await self._triggers.admit(environment, list(wanted.values()))
        marked = [
            msgspec.structs.replace(one, replayed_from=run) if isinstance(one, NewRun) else one
            for run, one in zip(wanted, admitted, strict=True)
        ]
        made = await self._triggers.create(environment.id, marked)
        return dict(zip(wanted, made, strict=True))


def _trigger(row: _Original) -> Trigger:
    return Trigger(
        task=row.task,
        payload=row.payload,
        payload_type=row.payload_type,
        # The task's own queue may have another name by now.
        queue=None if row.queue == f"task/{row.task}" else row.queue,
        concurrency_key=row.concurrency_key,
        ttl=row.ttl,
        priority=row.priority,
        tags=row.tags,
        metadata=row.metadata,
        max_attempts=_retries.decode(row.retry).max_attempts,
        max_duration=row.max_duration,
        machine=row.machine,
        is_test=row.is_test,
    )
