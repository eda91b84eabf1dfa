"""Tasks that use every form of the SDK once; `test_forms` runs them through `outlast dev`."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from outlast import (
    AbortTaskRunError,
    BatchItem,
    Context,
    Queue,
    Retry,
    RunFailed,
    StepError,
    idempotency_keys,
    metadata,
    step,
    step_sync,
    tags,
    task,
    tasks,
    wait,
)

narrow = Queue("narrow", concurrency_limit=1)


class Number(BaseModel):
    """A payload."""

    n: int = 1
    aborts: bool = False


class Doubled(BaseModel):
    """An output."""

    n: int
    run: str


@task("double")
async def double(payload: Number, ctx: Context) -> Doubled:
    metadata.parent.increment("children")
    metadata.root.append("seen", payload.n)
    if payload.aborts:
        raise AbortTaskRunError(f"asked to at {payload.n}")
    return Doubled(n=payload.n * 2, run=ctx.run.id)


@task("double-def")
def double_def(payload: Number, ctx: Context) -> Doubled:
    return Doubled(n=step_sync("multiply", lambda: payload.n * 2), run=ctx.run.id)


def same(n: int) -> int:
    return n


@task("nothing")
async def nothing() -> None:
    pass


@task("all-async")
async def all_async(ctx: Context) -> dict[str, object]:
    chance = [str(ctx.uuid4()), ctx.random(), ctx.now().isoformat()]
    metadata.set("phase", "begun")
    handle = await double.trigger(Number(n=1))
    first = await double.trigger_and_wait(Number(n=2))
    failed = await double.trigger_and_wait(Number(n=3, aborts=True))
    try:
        await double.trigger_and_wait(Number(n=4, aborts=True)).unwrap()
    except RunFailed as error:
        raised = str(error)
    batch = await double.batch_trigger([Number(n=5), BatchItem(Number(n=6), tags=["six"])])
    ends = await double.batch_trigger_and_wait([Number(n=7), Number(n=8, aborts=True)])
    by_id = await tasks.trigger("double", {"n": 9})
    by_id_waited = await tasks.trigger_and_wait("double", {"n": 10}).unwrap()
    try:
        await step("fails", lambda: 1 // 0)
    except StepError as error:
        step_error = error.type
    await wait.for_(seconds=0.1)
    await wait.until(ctx.now() + timedelta(seconds=0.1))
    await wait.until(datetime(2020, 1, 1, tzinfo=UTC))
    gathered = await asyncio.gather(*(step(f"part-{n}", same, n) for n in range(3)))
    async with asyncio.TaskGroup() as group:
        grouped = [
            group.create_task(double_def.trigger_and_wait(Number(n=n)).unwrap()) for n in (11, 12)
        ]
    await nothing.trigger_and_wait()
    called = await double.call(Number(n=13))
    mapped = await double.map((Number(n=n) for n in range(20, 25)), window=2)
    metadata.set("phase", "ended")
    tags.add("from-async")
    return {
        "chance": chance,
        "context": [ctx.attempt.number, ctx.task.id, ctx.queue.name, ctx.environment.slug],
        "handles": len({handle.id, by_id.id, *(run.id for run in batch.runs)}),
        "waited": [first.output.n, by_id_waited.n, *(one.result().n for one in grouped), called.n],
        "mapped": [one.n for one in mapped],
        "failed": [failed.ok, str(failed.error), raised, step_error],
        "batch": [end.ok for end in ends],
        "gathered": gathered,
        "phase": metadata.get("phase"),
    }


@task("all-def")
def all_def(ctx: Context) -> dict[str, object]:
    chance = [str(ctx.uuid4()), ctx.random(), ctx.now().isoformat()]
    handle = double.trigger_sync(Number(n=1))
    waited = double.trigger_and_wait_sync(Number(n=2)).unwrap()
    batch = double.batch_trigger_sync([Number(n=3), Number(n=4)])
    ends = double.batch_trigger_and_wait_sync([Number(n=5), Number(n=6, aborts=True)])
    mapped = double.map_sync([Number(n=n) for n in range(20, 25)], window=2)
    by_id = tasks.trigger_sync("double", {"n": 7})
    by_id_waited = tasks.trigger_and_wait_sync("double", {"n": 8}).unwrap()
    made = step_sync("make", lambda: [1, 2])
    wait.for_sync(seconds=0.1)
    wait.until_sync(ctx.now() + timedelta(seconds=0.1))
    metadata.set("phase", "ended")
    tags.add("from-def")
    return {
        "chance": chance,
        "handles": len({handle.id, by_id.id, *(run.id for run in batch.runs)}),
        "waited": [waited.n, by_id_waited.n],
        "batch": [end.ok for end in ends],
        "mapped": [one.n for one in mapped],
        "made": made,
    }


@task("keys", retry=Retry(max_attempts=2, min_timeout=0.05, max_timeout=0.1))
async def keys(ctx: Context) -> list[object]:
    made: dict[str, list[str]] = {}
    for scope in ("run", "attempt", "global"):
        key = idempotency_keys.create("k", scope=scope)
        twice = [await double.trigger(Number(), idempotency_key=key) for _ in range(2)]
        made[scope] = [handle.id for handle in twice]
    if ctx.attempt.number == 1:
        metadata.set("made", made)
        raise ValueError("once more")
    return [metadata.get("made"), made]


@task("laned", queue=narrow)
async def laned(_: Number) -> list[float]:
    begun = time.time()
    await asyncio.sleep(0.3)
    return [begun, time.time()]


@task("no-json", retry=Retry(max_attempts=1))
async def no_json(payload: str) -> object:
    if payload == "step":
        await step("charge", object)
    if payload == "metadata":
        metadata.set("phase", "\0")
    if payload == "child":
        await tasks.trigger("nobody", {"value": object()})
    return float("nan") if payload == "nan" else object()
