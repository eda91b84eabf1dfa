"""An organization's daily digest: started by its own schedule, whose external id is whose it is."""

from uuid import UUID

from outlast import Context, Retry, ScheduledPayload, schedules, step

from app.digests import write_digest
from app.emails.recipient import Recipient, find_recipient
from app.emails.send import send_email
from app.queries.members import list_members
from app.tenant import tenant_db


@schedules.task("send-digest", retry=Retry(max_attempts=8), max_duration="5m")
async def send_digest(payload: ScheduledPayload, ctx: Context) -> bool:
    """Mail the digest to the owner; False if there is nobody to mail it to."""
    organization_id = UUID(payload.external_id)
    owner = await step("find-owner", find_owner, organization_id)
    if (address := owner.address) is None:
        return False
    letter = await write_digest(organization_id, owner)
    await step("send-mail", lambda: send_email(letter, to=address, key=ctx.step.token))
    return True


async def find_owner(organization_id: UUID) -> Recipient:
    """Return the owner, or why nobody is written to."""
    async with tenant_db(organization_id) as session:
        [owner, *_] = await list_members(session, organization_id)
    return await find_recipient(organization_id, owner.user_id)
