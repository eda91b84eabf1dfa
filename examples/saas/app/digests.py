"""The daily digest: each organization chooses its hour, and gets a schedule of its own."""

from uuid import UUID

from outlast import UnprocessableError, schedules
from sqlalchemy import func, select

from app.emails.letter import Letter
from app.emails.recipient import Recipient
from app.queries.members import find_member
from app.result import Err, Ok, Result
from app.schema import Invoice
from app.tenant import tenant_db


async def set_digest_time(
    user_id: str, organization_id: UUID, *, hour: int, timezone: str
) -> Result[str]:
    """Choose the hour. Choosing again moves the schedule there is: the key is the same."""
    async with tenant_db(organization_id) as session:
        if await find_member(session, organization_id, user_id) is None:
            return Err("forbidden", "only members of the organization can set its digest")
    try:
        schedule = await schedules.create(
            "send-digest",
            cron=f"0 {hour} * * *",
            timezone=timezone,
            external_id=str(organization_id),
            deduplication_key=f"digest-{organization_id}",
            concurrency_key=str(organization_id),
        )
    except UnprocessableError as error:
        return Err("refused", str(error))
    return Ok(schedule.id)


async def write_digest(organization_id: UUID, recipient: Recipient) -> Letter:
    """Return the digest: what is still to be paid."""
    async with tenant_db(organization_id) as session:
        open_invoices = select(func.count(), func.coalesce(func.sum(Invoice.amount_cents), 0))
        unpaid, cents = (await session.execute(open_invoices.where(Invoice.status == "open"))).one()
    return Letter(
        subject=f"{recipient.organization} today: {unpaid} open invoices",
        greeting=f"Good morning {recipient.name}",
        paragraphs=(f"{unpaid} invoices are open, {cents / 100:,.2f} in all.",),
        why="You get this mail because your organization asked for a daily digest.",
    )
