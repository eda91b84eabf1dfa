"""The tasks that the tests of `outlast.testing` play with."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from outlast import (
    Context,
    Restart,
    Retry,
    ScheduledPayload,
    Task,
    logger,
    metadata,
    schedules,
    step,
    streams,
    task,
    wait,
)


class Post(BaseModel):
    title: str


class Decision(BaseModel):
    approved: bool


class Unwound:
    """What code of a run would do on its way out."""

    def __init__(self) -> None:
        self.count = 0


unwound = Unwound()
orders = streams.input("orders", str)
written: list[str] = []


@task("kit-mail")
async def mail(payload: str) -> str:
    print("sent", payload)  # noqa: T201 - what it says is looked at
    return payload


@task("kit-publish")
async def publish(payload: Post) -> str:
    """Remind the editor every day, for seven days."""
    await step("write", written.append, payload.title)
    token = await wait.create_token(timeout="7d", tags=["post"])
    metadata.set("token", token.id)
    logger.info("waits for an editor")
    try:
        for _ in range(7):
            await mail.trigger_and_wait(f"decide about {payload.title}")
            decision = await wait.for_token(token, type=Decision, timeout="1d")
            if decision.ok:
                break
    finally:
        unwound.count += 1
    return "published" if decision.ok and decision.output.approved else "forgotten"


@task("kit-plain")
def plain(payload: int) -> int:
    """Wait in a thread, then have a child answer."""
    wait.for_sync(days=1)
    return len(mail.trigger_and_wait_sync("x" * payload).unwrap())


@task("kit-fails", retry=Retry(max_attempts=1))
async def fails() -> None:
    raise ValueError("no luck")


@task("kit-endless")
async def endless() -> None:
    token = await wait.create_token(timeout="3650d")
    await wait.for_token(token)


@task("kit-attentive")
async def attentive() -> list[str]:
    """Do what messages say, in a generator, until one says stop."""

    async def told() -> AsyncIterator[str]:
        try:
            async for order in orders.listen():
                if order == "stop":
                    return
                yield order
        finally:
            unwound.count += 1

    return [order async for order in told()]


@task("kit-timely")
async def timely(ctx: Context) -> list[datetime]:
    """Tell the time before and after a short and a long wait."""
    seen = [ctx.now()]
    for seconds in (3, 3600):
        await wait.for_(seconds=seconds)
        seen.append(ctx.now())
    return seen


@task("kit-busy")
async def busy() -> str:
    """Do something besides waiting, for as long as it is not told to stop."""
    while not written:  # noqa: ASYNC110 - the outside world, as the platform sees it
        await asyncio.sleep(0.001)
    return written[0]


@task("kit-flaky", retry=Retry(max_attempts=3, min_timeout=60, max_timeout=3600))
async def flaky() -> int:
    written.append("attempt")
    if len(written) < 3:
        raise ValueError("not yet")
    return len(written)


@task("kit-follow")
async def follow(payload: int, ctx: Context) -> str:
    """Look at one page a day, each in a generation of its own."""
    await step("look", written.append, f"page {payload}")
    await wait.for_(days=1)
    if payload < 3:
        raise Restart(payload + 1)
    return f"{ctx.run.generation} generations"


@schedules.task("kit-nightly", cron="0 3 * * *")
async def nightly(payload: ScheduledPayload) -> str:
    written.append(payload.timestamp.isoformat())
    return "done"


TASKS: list[Task[Any, Any]] = [
    attentive, mail, publish, plain, fails, endless, timely, busy, flaky, follow,
]  # fmt: skip
