"""What both type checkers have to refuse: every line that ends with `# refused`."""

from pydantic import BaseModel

from outlast import (
    Context,
    Cron,
    Queue,
    Retry,
    TaskRef,
    batch,
    locals,
    schedules,
    step,
    streams,
    task,
    tasks,
    wait,
)
from outlast.testing import Platform


class Order(BaseModel):
    number: int


@task("orders")
async def orders(payload: Order, ctx: Context) -> int:
    return payload.number


@task("quiet")
async def quiet() -> None: ...


def load(number: int) -> Order:
    return Order(number=number)


async def calls() -> None:
    order = Order(number=1)
    await orders.trigger()  # refused
    await orders.trigger("text")  # refused
    await orders.trigger(order, dely="1h")  # refused
    await orders.trigger(order, queue={"name": "q"})  # refused
    await orders.trigger(order, concurrency_limit=1)  # refused
    await orders.trigger_and_wait(order, version="1")  # refused
    await quiet.trigger(order)  # refused
    await orders.batch_trigger([1])  # refused
    await batch.trigger(orders.item(1))  # refused
    await orders(order)  # refused
    text: str = await orders.trigger_and_wait(order).unwrap()  # refused
    await TaskRef[Order, int]("orders").trigger("text")  # refused
    await step("load", load, "1")  # refused
    await step("load", load, 1, timeout=3)  # refused
    await wait.until("tomorrow")  # refused
    _ = text


Queue("q", limit=1)  # refused
Retry(attempts=3)  # refused


@task("x", queue="name")  # refused
async def wrong_queue() -> None: ...


@orders.on_success  # refused
async def returns_text() -> str:
    return "no"


@tasks.on_failure  # refused
def returns_number(error: BaseException) -> int:
    return 1


@orders.middleware  # refused
async def no_generator() -> None: ...


@orders.on_start("named")  # refused
def returns_more() -> bool:
    return True


db = locals.create(Order, "order")
db.set("text")  # refused
orders.on_failure(3)  # refused


Cron("0 9 * * *", catchup="every")  # refused
orders_stream = streams.define("orders", Order)
answers = streams.input("answers", str)


@schedules.task("by-the-clock", timezone="UTC")  # refused
async def by_the_clock() -> None: ...


async def clocks(env: Platform) -> None:
    await schedules.create(orders, cron="0 9 * * *", deduplication_key="a")  # refused
    await schedules.create("orders", cron="0 9 * * *")  # refused
    await schedules.create("orders", cron=Cron("0 9 * * *"), deduplication_key="a")  # refused
    await orders_stream.append("text")  # refused
    await answers.send("run_1", 3)  # refused
    number: int = await answers.once()  # refused
    await wait.create_token(timout="7d")  # refused
    await env.advance(day=1)  # refused
    await env.run(orders, "text")  # refused
    _ = number
