"""Batches, in two phases: first the batch with its size, then its items as a stream of lines."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import msgspec
from fastapi import APIRouter, Body, Query, Request, Response

from outlast.engine.batches import Batch, BatchItem
from outlast.engine.engine import Engine
from outlast.engine.tenancy import Environment
from outlast.protocol.bodies import (
    BatchBody,
    BatchCreate,
    BatchCreated,
    BatchError,
    BatchItemsReply,
    BatchPage,
    BatchProcessing,
    BatchStatus,
    ListedBatch,
    WholeBatch,
)
from outlast.protocol.bodies import BatchItem as BatchItemBody
from outlast.protocol.body import Pagination
from outlast.protocol.results import BatchResults
from outlast.protocol.triggers import Refusal, Trigger, Triggered
from outlast.server.auth import authenticate
from outlast.server.contract import LINES, READ_ALL, TOKEN_HEADERS, answer, key_or, promise
from outlast.server.gate import MAX_BODY_BYTES
from outlast.server.intake import TaskEnvelope, decode, hashed, make_trigger, read_item
from outlast.server.lines import read_lines
from outlast.server.problems import Problem, limited
from outlast.server.rates import ALLOWANCE
from outlast.server.run_bodies import result
from outlast.server.services import services

MAX_ITEMS = 1000
MAX_PAGE = 100
TOKEN_SECONDS = 3600.0
_CHUNK_ITEMS = 250
_CHUNK_BYTES = 4 * 1024 * 1024

router = APIRouter(tags=["batches"])


class _Whole(msgspec.Struct, frozen=True):
    items: tuple[TaskEnvelope, ...]


_wholes = msgspec.json.Decoder(_Whole)
_refusals = msgspec.json.Decoder(Refusal)


@router.post(
    "/api/v3/batches",
    status_code=202,
    response_model=BatchCreated,
    **promise(
        key_or("batchTrigger:tasks:{task}"),
        answers={202: answer("A batch that waits for its items", headers=TOKEN_HEADERS)},
    ),
)
async def create(request: Request, wanted: Annotated[BatchCreate, Body()]) -> Response:
    """Make a batch that waits for its items."""
    caller = await authenticate(request)
    if wanted.task_identifiers:
        caller.require_every("batchTrigger", "tasks", wanted.task_identifiers)
    else:
        caller.require("batchTrigger", tasks=None)
    if wanted.run_count > MAX_ITEMS:
        raise Problem(400, "too_many", f"a batch has at most {MAX_ITEMS} items", param="runCount")
    if wanted.resume_parent_on_completion:
        raise Problem(
            422,
            "invalid_option",
            "a run waits for its batches over its worker, not by HTTP",
            param="resumeParentOnCompletion",
        )
    engine = services(request).engine
    _count(request, caller.environment, wanted.run_count)
    batch, was_there = await engine.batches.create(
        caller.environment.id,
        wanted.run_count,
        idempotency_key=hashed(wanted.idempotency_key),
        spend=partial(caller.spend, request, engine),
    )
    shown = wanted.idempotency_key_options
    reply = BatchCreated(
        id=batch.id,
        run_count=batch.size,
        # Of an unsealed batch the client must send the items again, or they are lost.
        is_cached=was_there and batch.sealed,
        idempotency_key=shown.key if shown is not None else wanted.idempotency_key,
    )
    scopes = [f"read:batch:{batch.id}"]
    if caller.token is not None or request.headers.get("x-trigger-client") == "browser":
        scopes.append(f"write:batch:{batch.id}")
    return Response(
        reply.to_json(),
        202,
        media_type="application/json",
        headers=await caller.token_headers(engine, tuple(scopes), TOKEN_SECONDS),
    )


@router.post(
    "/api/v3/batches/{batch_id}/items",
    response_model=BatchItemsReply,
    **promise(key_or("batchTrigger:tasks:{task}"), body=BatchItemBody, media=LINES, fails=(415,)),
)
async def add_items(request: Request, batch_id: str) -> Response:
    """Take a batch's items, one JSON object per line; sending them again adds nothing twice."""
    caller = await authenticate(request)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in {"application/x-ndjson", "application/ndjson"}:
        raise Problem(415, "unsupported_media_type", "send the items as application/x-ndjson")
    engine = services(request).engine
    batch = await engine.batches.retrieve(caller.environment.id, batch_id)
    filling = _Filling(engine, caller.environment, batch)
    number = 0
    async for line in read_lines(request.stream(), MAX_BODY_BYTES):
        if number >= batch.size:
            raise Problem(422, "too_many", f"batch {batch_id} takes {batch.size} items")
        task = filling.take(line, number)
        if task is not None:
            caller.require("batchTrigger", tasks=[task])
        number += 1
        if filling.is_full:
            await filling.flush()
    await filling.flush()
    errors: tuple[BatchError, ...] = ()
    if filling.sealed:
        errors = await _errors(engine, caller.environment.id, batch_id)
    reply = BatchItemsReply(
        id=batch_id,
        items_accepted=filling.accepted,
        items_deduplicated=filling.deduplicated,
        sealed=filling.sealed,
        enqueued_count=filling.accepted + filling.deduplicated,
        expected_count=batch.size,
        errors=errors or None,
    )
    return Response(reply.to_json(), media_type="application/json")


@router.post(
    "/api/v2/tasks/batch",
    status_code=202,
    response_model=BatchCreated,
    **promise(
        key_or("batchTrigger:tasks:{task}"),
        body=WholeBatch,
        needs_body=True,
        answers={202: answer("A batch with all its items", headers=TOKEN_HEADERS)},
    ),
)
async def create_whole(request: Request) -> Response:
    """Make a batch with all its items in one request, as clients before 4.3 do."""
    caller, engine = await authenticate(request), services(request).engine
    given = decode(_wholes, await request.body())
    if not 1 <= len(given.items) <= MAX_ITEMS:
        raise Problem(400, "too_many", f"a batch has 1 to {MAX_ITEMS} items", param="items")
    caller.require_every("batchTrigger", "tasks", tuple({item.task for item in given.items}))
    _count(request, caller.environment, len(given.items))
    batch, _ = await engine.batches.create(
        caller.environment.id, len(given.items), spend=partial(caller.spend, request, engine)
    )
    filling = _Filling(engine, caller.environment, batch)
    for index, item in enumerate(given.items):
        filling.take_item(index, item)
        if filling.is_full:
            await filling.flush()
    await filling.flush()
    reply = BatchCreated(id=batch.id, run_count=batch.size, is_cached=False)
    headers = await caller.token_headers(engine, (f"read:batch:{batch.id}",), TOKEN_SECONDS)
    return Response(reply.to_json(), 202, media_type="application/json", headers=headers)


@router.get("/api/outlast/v1/batches", response_model=BatchPage, **promise(READ_ALL))
async def list_batches(
    request: Request,
    after: Annotated[str | None, Query(max_length=128)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 25,
) -> Response:
    """List the batches, newest first."""
    caller = await authenticate(request)
    caller.require_whole("read")
    rows = await services(request).engine.batches.page(
        caller.environment.id, limit=limit, after=after
    )
    body = BatchPage(
        data=tuple(
            ListedBatch(
                id=row.id,
                status=_status(
                    row.created, row.refused, sealed=row.sealed, abandoned=row.abandoned
                ),
                run_count=row.size,
                created=row.created,
                refused=row.refused,
                parent_run_id=row.parent_id,
                created_at=row.created_at,
                updated_at=row.updated_at,
            )
            for row in rows
        ),
        pagination=Pagination(next=rows[-1].id if len(rows) == limit else None),
    )
    return Response(body.to_json(), media_type="application/json")


@router.get(
    "/api/v2/batches/{batch_id}",
    response_model=BatchBody,
    **promise(key_or("read:batch:{batch_id}", "read:runs")),
)
async def retrieve(request: Request, batch_id: str) -> Response:
    """Return a batch with the ids of its runs."""
    caller = await authenticate(request)
    caller.require("read", batch=[batch_id], runs=None)
    engine = services(request).engine
    batch = await engine.batches.retrieve(caller.environment.id, batch_id)
    items = await engine.batches.items(caller.environment.id, batch_id)
    return Response(_body(batch, items).to_json(), media_type="application/json")


@router.get(
    "/api/v1/batches/{batch_id}/results",
    response_model=BatchResults,
    **promise(key_or("read:batch:{batch_id}", "read:runs")),
)
async def results(request: Request, batch_id: str) -> Response:
    """Return how the runs that have ended did, in the order of the items."""
    caller = await authenticate(request)
    caller.require("read", batch=[batch_id], runs=None)
    engine = services(request).engine
    await engine.batches.retrieve(caller.environment.id, batch_id)
    items = await engine.batches.items(caller.environment.id, batch_id)
    ended = tuple(
        result(item.run_id, item.task, item.status, item.output, item.failure)
        for item in items
        if item.run_id is not None and item.status is not None
    )
    body = BatchResults(id=batch_id, items=ended)
    return Response(body.to_json(), media_type="application/json")


class _Filling:
    """Items on their way into a batch, handed over in portions."""

    def __init__(self, engine: Engine, environment: Environment, batch: Batch) -> None:
        self._engine = engine
        self._environment = environment
        self._batch = batch
        self._items: dict[int, Trigger] = {}
        self._failed: dict[int, tuple[str, Refusal]] = {}
        self._bytes = 0
        self.accepted = 0
        self.deduplicated = 0
        self.sealed = batch.sealed

    @property
    def is_full(self) -> bool:
        """Whether enough has gathered to hand it over."""
        gathered = len(self._items) + len(self._failed)
        return gathered >= _CHUNK_ITEMS or self._bytes >= _CHUNK_BYTES

    def take(self, line: bytes | None, number: int) -> str | None:
        """Take one line in and return its task; one that is too long becomes a failed item.

        Raises `Problem` for a line that is no item: the client has a fault, not one item of it.
        """
        if line is None:
            message = "the item is larger than 3 MB"
            self._failed[number] = ("", Refusal(413, "payload_too_large", message, "payload"))
            return None
        item = read_item(line)
        self.take_item(item.index, item)
        return item.task

    def take_item(self, index: int, item: TaskEnvelope) -> None:
        """Take one item in; what is wrong with its options becomes its failure."""
        if index >= self._batch.size:
            raise Problem(
                422,
                "invalid_index",
                f"item {index} is beyond the batch's {self._batch.size} items",
                param="index",
            )
        if index in self._items:
            self.deduplicated += 1
            return
        self._bytes += len(item.payload)
        try:
            self._items[index] = make_trigger(item.task, item, {})
        except Problem as problem:
            refusal = Refusal(problem.status, problem.code, problem.message, problem.param)
            self._failed[index] = (item.task, refusal)

    async def flush(self) -> None:
        """Hand over what has gathered."""
        items, self._items, self._bytes = self._items, {}, 0
        failed, self._failed = self._failed, {}
        if failed:
            tasks = [(index, task) for index, (task, _) in failed.items()]
            answers = [Triggered(error=refusal) for _, refusal in failed.values()]
            await self._engine.batches.record(self._batch.id, tasks, answers)
            self.accepted += len(failed)
        if items or failed:
            added = await self._engine.batches.add(
                self._environment, self._batch.id, list(items.items())
            )
            self.accepted += added.accepted
            self.deduplicated += added.deduplicated
            self.sealed = added.sealed


def _count(request: Request, environment: Environment, runs: int) -> None:
    """Count a batch's runs against the limit of its environment. Raises `Problem`."""
    found = services(request)
    rate = found.settings.batch_rate_limit
    if rate is None:
        return
    allowance = found.rates.take(f"batches of {environment.id}", rate, runs)
    request.scope[ALLOWANCE] = allowance
    if allowance.wait:
        raise limited(
            allowance.wait,
            limit=allowance.limit,
            remaining=allowance.remaining,
            detail=f"batches of this environment may hold {rate.per_minute} runs a minute",
        )


async def _errors(engine: Engine, environment: str, batch: str) -> tuple[BatchError, ...]:
    return tuple(_error(item) for item in await engine.batches.refused(environment, batch))


def _body(batch: Batch, items: Sequence[BatchItem]) -> BatchBody:
    errors = tuple(_error(item) for item in items if item.error is not None)
    runs = tuple(item.run_id for item in items if item.run_id is not None)
    return BatchBody(
        id=batch.id,
        # By the runs shown: they were read after the batch, which may have known of none yet.
        status=_status(len(runs), len(errors), sealed=batch.sealed, abandoned=batch.abandoned),
        idempotency_key=batch.idempotency_key,
        created_at=batch.created_at,
        updated_at=batch.updated_at,
        run_count=batch.size,
        runs=runs,
        processing=BatchProcessing(
            completed_at=batch.updated_at if batch.sealed else None, errors=errors
        ),
    )


def _status(created: int, refused: int, *, sealed: bool, abandoned: bool) -> BatchStatus:
    """Say how far the making of the runs is; how the runs end is not a batch's matter."""
    if abandoned:
        return "ABORTED"
    if not sealed:
        return "PENDING" if created == 0 else "PROCESSING"
    return "PARTIAL_FAILED" if refused else "COMPLETED"


def _error(item: BatchItem) -> BatchError:
    refusal = _refusals.decode(item.error or "{}")
    return BatchError(
        index=item.index,
        task_identifier=item.task,
        error=refusal.message,
        error_code=refusal.code,
    )
