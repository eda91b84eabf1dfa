"""The ways to reach a member. Each bears to be asked twice."""

import asyncio
from typing import Literal
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert

from app.emails.letter import Letter
from app.emails.recipient import find_recipient
from app.emails.send import send_email
from app.schema import Notification
from app.settings import settings
from app.tenant import tenant_db

Channel = Literal["email", "inbox"]
CHANNELS: tuple[Channel, ...] = ("email", "inbox")


async def send_mail(
    organization_id: UUID, user_id: str, *, event_type: str, text: str, key: str
) -> bool:
    """Mail it, if the member's address takes mail; the mail server knows the key."""
    recipient = await find_recipient(organization_id, user_id)
    if recipient.address is None:
        return False
    letter = Letter(
        subject=f"{recipient.organization}: {event_type}",
        greeting=f"Hello {recipient.name}",
        paragraphs=(text,),
        button="Open",
        url=f"{settings().app_url}/inspector",
        why=f"As a member of {recipient.organization} you get this mail.",
    )
    await asyncio.to_thread(send_email, letter, to=recipient.address, key=key)
    return True


async def put_into_inbox(organization_id: UUID, user_id: str, *, event_id: UUID, text: str) -> bool:
    """Put it into the member's inbox; the table takes an event once."""
    row = insert(Notification).values(
        organization_id=organization_id, event_id=event_id, user_id=user_id, text=text
    )
    async with tenant_db(organization_id) as session:
        await session.execute(row.on_conflict_do_nothing(constraint="notified_once_per_event"))
    return True
