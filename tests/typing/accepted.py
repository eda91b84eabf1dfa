"""What both type checkers have to accept, and infer."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import datetime, timedelta
from typing import Any, assert_type

from pydantic import BaseModel

from outlast import (
    BatchHandle,
    BatchItem,
    BatchResult,
    Call,
    Completion,
    Context,
    Cron,
    Queue,
    Result,
    Retry,
    RunHandle,
    ScheduledPayload,
    Task,
    TaskRef,
    Usage,
    Verdict,
    WaitInfo,
    WaitpointToken,
    batch,
    heartbeats,
    locals,
    schedules,
    step,
    step_sync,
    streams,
    task,
    tasks,
    usage,
    wait,
    wait_until,
)
from outlast.testing import Journal, Platform, Replayed, SyncPlatform, replay


class Order(BaseModel):
    number: int


class Receipt(BaseModel):
    text: str


@task("both", queue=Queue("typed", concurrency_limit=2), retry=Retry(min_timeout="500ms"))
async def both(payload: Order, ctx: Context) -> Receipt:
    return Receipt(text=f"{payload.number} {ctx.run.id}")


@task("payload-only", max_duration=timedelta(minutes=5))
async def payload_only(order: Order) -> int:
    return order.number


@task("context-only", max_duration=None)
async def context_only(ctx: Context) -> str:
    return ctx.run.id


@task()
async def neither() -> None: ...


@task("anything", isolated=True)
async def anything(payload: Any, ctx: Context) -> dict[str, int]:
    return {}


@task("any-only")
async def any_only(payload: Any) -> int:
    return 1


@task("sync-both")
def sync_both(payload: Order, ctx: Context) -> Receipt:
    return Receipt(text="")


@task("sync-payload")
def sync_payload(payload: Order) -> list[int]:
    return [payload.number]


@task("sync-context")
def sync_context(ctx: Context) -> float:
    return ctx.random()


@task("sync-neither")
def sync_neither() -> bool:
    return True


def shapes() -> None:
    assert_type(both, Task[Order, Receipt])
    assert_type(payload_only, Task[Order, int])
    assert_type(context_only, Task[None, str])
    assert_type(neither, Task[None, None])
    assert_type(anything, Task[Any, dict[str, int]])
    assert_type(any_only, Task[Any, int])
    assert_type(sync_both, Task[Order, Receipt])
    assert_type(sync_payload, Task[Order, list[int]])
    assert_type(sync_context, Task[None, float])
    assert_type(sync_neither, Task[None, bool])


async def triggering() -> None:
    order = Order(number=1)
    assert_type(await both.trigger(order), RunHandle[Receipt])
    assert_type(await both.trigger(order, delay="1h", tags=["a"], priority=3), RunHandle[Receipt])
    assert_type(await context_only.trigger(), RunHandle[str])
    assert_type(await neither.trigger(ttl=60, queue="typed"), RunHandle[None])
    assert_type(await anything.trigger({"any": "thing"}), RunHandle[dict[str, int]])
    assert_type(both.trigger_sync(order), RunHandle[Receipt])
    assert_type(sync_neither.trigger_sync(), RunHandle[bool])
    handle = await both.trigger(order)
    assert_type(await handle.result(timeout="1m"), Receipt)
    assert_type(handle.result_sync(), Receipt)


async def waiting() -> None:
    order = Order(number=1)
    assert_type(both.trigger_and_wait(order), Call[Result[Receipt]])
    assert_type(await both.trigger_and_wait(order, timeout="1h"), Result[Receipt])
    assert_type(await both.trigger_and_wait(order).unwrap(), Receipt)
    assert_type(both.call(order, timeout="1h"), Call[Receipt])
    assert_type(await context_only.call(), str)
    assert_type(await context_only.trigger_and_wait().unwrap(), str)
    result = await payload_only.trigger_and_wait(order)
    if result.ok:
        assert_type(result.output, int)
    assert_type(result.unwrap(), int)
    assert_type(sync_payload.trigger_and_wait_sync(order).unwrap(), list[int])
    assert_type(await wait.for_(days=1), None)
    token = await wait.create_token(timeout="7d", tags=["approval"])
    assert_type(token, WaitpointToken)
    assert_type(await wait.for_token(token, type=Receipt), Result[Receipt])
    assert_type(await wait.for_token(token.id, type=Receipt).unwrap(), Receipt)
    assert_type(await wait.for_token(token).unwrap(), Any)
    assert_type(wait.for_token_sync(token, type=Receipt, timeout="1h"), Result[Receipt])


async def together() -> None:
    order = Order(number=1)
    first, second = await asyncio.gather(
        both.trigger_and_wait(order).unwrap(), payload_only.trigger_and_wait(order)
    )
    assert_type(first, Receipt)
    assert_type(second, Result[int])
    async with asyncio.TaskGroup() as group:
        third = group.create_task(context_only.trigger_and_wait().unwrap())
    assert_type(third.result(), str)
    as_coroutine: Coroutine[Any, Any, Receipt] = both.trigger_and_wait(order).unwrap()
    assert_type(await as_coroutine, Receipt)


async def batches() -> None:
    orders = [Order(number=number) for number in range(3)]
    assert_type(await both.batch_trigger(orders), BatchHandle[Receipt])
    assert_type(
        await both.batch_trigger([BatchItem(order, tags=["a"]) for order in orders]),
        BatchHandle[Receipt],
    )
    assert_type(await both.batch_trigger_and_wait(orders), BatchResult[Receipt])
    assert_type(await both.batch_trigger_and_wait(orders).unwrap(), list[Receipt])
    assert_type(await both.map(orders, window=2), list[Receipt])
    assert_type(both.map_sync(orders), list[Receipt])
    for result in await payload_only.batch_trigger_and_wait(orders):
        assert_type(result, Result[int])


async def streamed_batches(orders: AsyncIterator[Order]) -> None:
    assert_type(await both.batch_trigger(orders), BatchHandle[Receipt])


async def mixed_batches(order: Order) -> None:
    one, other = await batch.trigger_and_wait(
        both.item(order, tags=["a"]), payload_only.item(order)
    )
    assert_type(one, Result[Receipt])
    assert_type(other, Result[int])
    three = await batch.trigger_and_wait(
        both.item(order), context_only.item(), TaskRef[Order, bool]("far").item(order)
    )
    assert_type(three, tuple[Result[Receipt], Result[str], Result[bool]])
    same = await batch.trigger_and_wait(*[both.item(order)])
    assert_type(same, tuple[Result[Receipt], ...])
    assert_type(await batch.trigger(both.item(order), neither.item()), BatchHandle[Any])


async def by_id() -> None:
    ref = TaskRef[Order, Receipt]("both")
    assert_type(await ref.trigger(Order(number=1)), RunHandle[Receipt])
    assert_type(await ref.trigger_and_wait(Order(number=1)).unwrap(), Receipt)
    assert_type(await tasks.trigger("both", {"number": 1}), RunHandle[Any])


def load(number: int, *, strict: bool = False) -> Order:
    return Order(number=number)


async def load_slowly(number: int) -> Order:
    return Order(number=number)


async def steps() -> None:
    assert_type(step("load", load, 1, strict=True), Call[Order])
    assert_type(await step("load", load_slowly, 1), Order)
    assert_type(await step.options(type=Order, timeout="5s")("load", load, 1), Order)
    assert_type(step_sync("load", load, 1), Order)


async def functions_stay_functions() -> None:
    both.function(Order(number=1))


db = locals.create(Order, "order")


@both.middleware
async def around(payload: Order) -> AsyncIterator[None]:
    assert_type(db.set(payload), Order)
    yield


@tasks.middleware("timed")
def around_all() -> Iterator[None]:
    yield


@both.on_failure
async def failed(error: BaseException, payload: Order, ctx: Context) -> None: ...


@tasks.on_failure
def failed_anywhere(error: BaseException) -> None: ...


@both.on_wait
async def waits(wait: WaitInfo) -> None: ...


@both.on_complete("tell")
async def told(result: Completion) -> None:
    assert_type(result.ok, bool)
    assert_type(db.get(), Order | None)


@both.catch_error
async def judged(error: BaseException) -> Verdict:
    return Verdict(skip_retrying=True)


async def hooks_inside(ctx: Context) -> None:
    @ctx.on_cancel
    async def canceled(reason: str) -> None: ...

    wait_until(load_slowly(1))
    assert_type(usage.get_current(), Usage)
    assert_type(ctx.signal.reason, str | None)
    assert_type(Context.current(), Context)
    with usage.measure() as used:
        await heartbeats.yield_()
    assert_type(used.cpu, timedelta)
    await canceled("hooks stay functions")


@schedules.task(
    "by-the-clock",
    cron=Cron("0 9 * * *", timezone="Europe/Berlin", window="30m", catchup="all"),
    ttl="1h",
)
async def by_the_clock(payload: ScheduledPayload, ctx: Context) -> int:
    assert_type(payload.timestamp, datetime)
    assert_type(payload.upcoming, tuple[datetime, ...])
    return len(payload.upcoming)


@schedules.task("at-night", cron="0 3 * * *")
def at_night() -> None: ...


async def scheduling() -> None:
    assert_type(by_the_clock, Task[ScheduledPayload, int])
    assert_type(at_night, Task[None, None])
    made = await schedules.create(
        by_the_clock, cron="0 9 * * *", deduplication_key="a", timezone="UTC", external_id="b"
    )
    assert_type(made, schedules.ScheduleBody)
    assert_type(made.next_run, datetime | None)
    await schedules.create("by-the-clock", cron="0 9 * * *", deduplication_key="a", catchup="none")
    async for each in schedules.list(task="by-the-clock", external_id="b"):
        assert_type(await schedules.deactivate(each.id), schedules.ScheduleBody)
    assert_type(await schedules.timezones(exclude_utc=True), tuple[str, ...])


async def tokens() -> None:
    async for listed in wait.list_tokens(status=["WAITING", "COMPLETED"], tags="a"):
        assert_type(listed, wait.ListedToken)
        assert_type(await wait.retrieve_token(listed.id), wait.TokenDetail)
        await wait.complete_token(listed.id, Receipt(text="yes"))


orders = streams.define("orders", Order)
answers = streams.input("answers", list[int])


async def streaming(source: AsyncIterator[Order]) -> None:
    assert_type(orders, streams.Stream[Order])
    assert_type(answers, streams.InputStream[list[int]])
    assert_type(streams.define("anything"), streams.Stream[Any])
    await orders.append(Order(number=1), target="parent")
    assert_type(await orders.pipe(source), int)
    async with orders.writer(afresh=True) as writer:
        await writer.write(Order(number=2))
    async for order in orders.read("run_1", start=3, timeout="1m"):
        assert_type(order, Order)
    for order in orders.read_sync("run_1"):
        assert_type(order, Order)
    assert_type(await answers.wait(timeout="7d"), Result[list[int]])
    assert_type(await answers.once(), list[int])
    assert_type(await answers.peek(), list[int] | None)
    async for numbers in answers.listen():
        assert_type(numbers, list[int])
    await answers.send("run_1", [1, 2])


async def testing(recorded: Journal) -> None:
    async with Platform(tasks=[both, neither]) as env:
        assert_type(await env.run(both, Order(number=1)), Result[Receipt])
        assert_type(await env.run(neither), Result[None])
        run = await both.trigger(Order(number=1))
        await env.advance(days=1)
        await env.advance("1h30m")
        await env.kill_worker()
        assert_type(await env.result(run), Result[Receipt])
        env.assert_triggered(both, count=1, payload=Order(number=1), tags="a")
        assert_type(env.now, datetime)
        assert_type(env.journal(run), Journal)
    assert_type(await replay(recorded, against=both), Replayed)


def testing_plainly() -> None:
    with SyncPlatform(tasks=[both]) as env:
        assert_type(env.run(both, Order(number=1)), Result[Receipt])
        env.advance(days=1)
        assert_type(env.result(both.trigger_sync(Order(number=1))), Result[Receipt])
