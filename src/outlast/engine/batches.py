"""Batches that applications make: created with a size, filled item by item, sealed when full."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import msgspec

from outlast.engine.database import Database, Executor
from outlast.engine.errors import NotFound
from outlast.engine.ids import Ids
from outlast.engine.queries import load
from outlast.engine.tenancy import Environment
from outlast.engine.triggers import Triggers
from outlast.engine.turn import NewRun
from outlast.protocol.triggers import Refusal, Trigger, Triggered

BATCHES = load("batches")

Spend = Callable[[Executor], Awaitable[None]]
"""Uses a token up inside a transaction."""


class Batch(msgspec.Struct, frozen=True):
    """A batch as it stands. `created` counts its items so far, refused ones included.

    `abandoned`: its items have not all come within ten minutes. They still may.
    """

    id: str
    environment_id: str
    size: int
    sealed: bool
    idempotency_key: str | None
    created_at: datetime
    updated_at: datetime
    created: int
    abandoned: bool


class ListedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch of a list; `refused` of its items became no run."""

    id: str
    size: int
    sealed: bool
    parent_id: str | None
    created_at: datetime
    updated_at: datetime
    created: int
    refused: int
    abandoned: bool


class BatchItem(msgspec.Struct, frozen=True):
    """One item: its run, or why there is none (`error` is a Refusal as JSON)."""

    index: int
    task: str
    run_id: str | None
    error: str | None
    status: str | None
    output: str | None
    failure: str | None


class Added(msgspec.Struct, frozen=True):
    """What adding items came to."""

    accepted: int
    deduplicated: int
    sealed: bool


class _Index(msgspec.Struct, frozen=True):
    index: int


class Batches:
    """Batches of all environments. Rows of a batch that a task waits for belong to the cycle."""

    def __init__(self, database: Database, *, ids: Ids, triggers: Triggers) -> None:
        self._database = database
        self._ids = ids
        self._triggers = triggers

    async def create(
        self,
        environment: str,
        size: int,
        *,
        idempotency_key: str | None = None,
        spend: Spend | None = None,
    ) -> tuple[Batch, bool]:
        """Make a batch to be filled, or return the one that holds the key (the flag is true).

        `spend` uses a one-time token up in the same transaction.
        """
        batch = self._ids.new("batch")
        async with self._database.transaction() as executor:
            if spend is not None:
                await spend(executor)
            await executor.execute(
                BATCHES.create,
                environment=environment,
                batch=batch,
                size=size,
                idempotency_key=idempotency_key,
            )
        found = await self._database.fetch_one(
            Batch,
            BATCHES.find_created,
            environment=environment,
            batch=batch,
            idempotency_key=idempotency_key,
        )
        if found is None:
            raise NotFound(f"there is no batch {batch!r} in this environment")
        return found, found.id != batch

    async def add(
        self, environment: Environment, batch: str, items: Sequence[tuple[int, Trigger]]
    ) -> Added:
        """Trigger items of a batch; an index that is there already is not made again."""
        found = await self.retrieve(environment.id, batch)
        present = await self.present(batch)
        fresh = [(index, one) for index, one in items if index not in present]
        admitted = await self._triggers.admit(environment, [one for _, one in fresh])
        bound = [
            msgspec.structs.replace(
                one,
                batch=batch,
                trigger_function="batchTrigger",
                request_key=f"{batch}/{index}",  # a repeated stream finds what it made
            )
            if isinstance(one, NewRun)
            else one
            for (index, _), one in zip(fresh, admitted, strict=True)
        ]
        made = await self._triggers.create(environment.id, bound)
        if fresh:
            await self.record(batch, [(i, one.task) for i, one in fresh], made)
        sealed = len(present) + len(fresh) >= found.size
        return Added(len(fresh), len(items) - len(fresh), sealed)

    async def retrieve(self, environment: str, batch: str) -> Batch:
        """Return a batch. Raises `NotFound`."""
        found = await self._database.fetch_one(
            Batch, BATCHES.retrieve, environment=environment, batch=batch
        )
        if found is None:
            raise NotFound(f"there is no batch {batch!r} in this environment")
        return found

    async def page(
        self, environment: str, *, limit: int, after: str | None = None
    ) -> list[ListedBatch]:
        """Return batches, newest first; `after` is the last one of a page."""
        return await self._database.fetch(
            ListedBatch, BATCHES.list_batches, environment=environment, limit=limit, after=after
        )

    async def items(self, environment: str, batch: str) -> list[BatchItem]:
        """Return a batch's items in order, with the end of each run that has ended."""
        return await self._database.fetch(
            BatchItem, BATCHES.items, environment=environment, batch=batch
        )

    async def refused(self, environment: str, batch: str) -> list[BatchItem]:
        """Return the items that became no run."""
        return await self._database.fetch(
            BatchItem, BATCHES.refused, environment=environment, batch=batch
        )

    async def present(self, batch: str) -> set[int]:
        """Return the indexes that a batch has already."""
        rows = await self._database.fetch(_Index, BATCHES.present, batch=batch)
        return {row.index for row in rows}

    async def record(
        self, batch: str, tasks: Sequence[tuple[int, str]], made: Sequence[Triggered]
    ) -> None:
        """Write down what became of items, and seal the batch when all are there."""
        rows = [
            {
                "index": index,
                "task": task,
                "run": one.run_id or None,
                "error": _text(one.error),
            }
            for (index, task), one in zip(tasks, made, strict=True)
        ]
        await self._database.execute(
            BATCHES.record, batch=batch, items=msgspec.json.encode(rows).decode()
        )
        await self._database.execute(BATCHES.seal, batch=batch)


def _text(refusal: Refusal | None) -> str | None:
    return msgspec.json.encode(refusal).decode() if refusal is not None else None
