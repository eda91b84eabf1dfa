"""The tasks that the tests of `outlast.testing` play with."""

from pydantic import BaseModel

from outlast import Retry, logger, metadata, schedules, step, task, wait


class Post(BaseModel):
    title: str


class Decision(BaseModel):
    approved: bool


class Unwound:
    """What code of a run would do on its way out."""

    def __init__(self) -> None:
        self.count = 0


unwound = Unwound()
written: list[str] = []


@task("kit-mail")
async def mail(payload: str) -> str:
    print("sent", payload)
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


@task("kit-flaky", retry=Retry(max_attempts=3, min_timeout=60, max_timeout=3600))
async def flaky(payload: None) -> int:
    written.append("attempt")
    if len(written) < 3:
        raise ValueError("not yet")
    return len(written)


@schedules.task("kit-nightly", cron="0 3 * * *")
async def nightly(payload: schedules.ScheduledPayload) -> str:
    written.append(payload.timestamp.isoformat())
    return "done"


TASKS = [mail, publish, plain, flaky, nightly]
