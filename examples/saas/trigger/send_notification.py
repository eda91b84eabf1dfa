"""One notification to one member on one channel: what is retried alone when it fails alone."""

from uuid import UUID

from outlast import Context, Queue, Retry, step, task
from pydantic import BaseModel

from app.notifications.channels import Channel, put_into_inbox, send_mail

# The limit is per lane, and a lane is an organization: five at a time for each of them.
notifications = Queue("notifications", concurrency_limit=5)


class SendPayload(BaseModel):
    """What to tell whom, and how."""

    organization_id: UUID
    event_id: UUID
    event_type: str
    text: str
    user_id: str
    channel: Channel


@task("send-notification", queue=notifications, retry=Retry(max_attempts=8), max_duration="2m")
async def send_notification(payload: SendPayload, ctx: Context) -> bool:
    """Send it; False if the member cannot be reached this way."""

    async def send() -> bool:
        if payload.channel == "inbox":
            return await put_into_inbox(
                payload.organization_id,
                payload.user_id,
                event_id=payload.event_id,
                text=payload.text,
            )
        return await send_mail(
            payload.organization_id,
            payload.user_id,
            event_type=payload.event_type,
            text=payload.text,
            key=ctx.step.token,
        )

    return await step(f"send-{payload.channel}", send)
