"""The Python tasks that the official clients call."""

from datetime import datetime

from outlast import Queue, ScheduledPayload, metadata, schedules, step, streams, task, wait

words = streams.define("words", dict[str, int])
orders = streams.input("orders", dict[str, str])
mails = Queue("mails", concurrency_limit=3)


@task("hello/x y")
async def hello(payload: dict[str, object]) -> dict[str, object]:
    """Give back what came, and what JavaScript would call a list."""
    return {"heard": payload, "list": [1, 2.5, None, "ä"]}


@task("echo-text")
async def echo_text(payload: str) -> str:
    """Give back a text."""
    return payload


@task("dated")
async def dated(payload: datetime) -> str:
    """Read a date that JavaScript made."""
    return payload.isoformat()


@task("mail", queue=mails)
async def mail(payload: int) -> int:
    """Work in a queue with a name."""
    return payload * 2


@task("large")
async def large(payload: str) -> str:
    """Return more than fits into a response."""
    return payload + "!"


@task("fails")
async def fails(payload: str) -> None:
    """End badly."""
    raise ValueError(payload)


@task("ticks")
async def ticks(payload: int) -> int:
    """Show progress, one tick after a message, so that nobody misses one."""
    async for order in orders.listen():
        metadata.set("progress", int(order["tick"]))
        await metadata.flush()
        if int(order["tick"]) == payload:
            break
    return payload


@task("tells")
async def tells(payload: int) -> int:
    """Write a stream, then stay until told to go, so that it can be read live."""
    for number in range(payload):
        await words.append({"n": number})
    await orders.wait(timeout="2m")
    return payload


@task("approval")
async def approval(payload: str) -> object:
    """Wait for a token that was made elsewhere."""
    return await wait.for_token(payload).unwrap()


@task("parent")
async def parent(payload: int) -> int:
    """Have a child and a step, for the trace."""
    await step("think", lambda: 1)
    return await mail.trigger_and_wait(payload).unwrap()


@schedules.task("clock")
async def clock(payload: ScheduledPayload) -> str:
    """Say which schedule it was."""
    return payload.schedule_id
