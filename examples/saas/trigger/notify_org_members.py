"""The fan-out: one event becomes a run for every channel of every member."""

from uuid import UUID

from outlast import BatchItem, Retry, idempotency_keys, step, task
from pydantic import BaseModel

from app.notifications.channels import CHANNELS
from app.notifications.notify import NotifyPayload
from app.queries.members import list_members
from app.tenant import tenant_db
from trigger.send_notification import SendPayload, notifications, send_notification


class Notified(BaseModel):
    """How many sends there were, and how many of them reached somebody."""

    sends: int
    delivered: int


@task("notify-org-members", queue=notifications, retry=Retry(max_attempts=5), max_duration="1h")
async def notify_org_members(payload: NotifyPayload) -> Notified:
    """Tell every member on every channel, at most five sends of an organization at a time.

    A run that waits for its children gives its place in the queue to them.
    """
    members = await step("find-members", find_members, payload.organization_id)
    sends = [
        BatchItem(
            SendPayload(
                organization_id=payload.organization_id,
                event_id=payload.event_id,
                event_type=payload.event_type,
                text=payload.text or payload.event_type,
                user_id=user_id,
                channel=channel,
            ),
            concurrency_key=str(payload.organization_id),
            # Of this event: a second run for it, for whatever reason, finds these sends done.
            idempotency_key=idempotency_keys.create(
                [str(payload.event_id), user_id, channel], scope="global"
            ),
        )
        for user_id in members
        for channel in CHANNELS
    ]
    results = await send_notification.batch_trigger_and_wait(sends)
    return Notified(sends=len(sends), delivered=sum(result.unwrap() for result in results))


async def find_members(organization_id: UUID) -> list[str]:
    """Return the user ids of the organization's members."""
    async with tenant_db(organization_id) as session:
        return [member.user_id for member in await list_members(session, organization_id)]
