"""Whom a mail goes to, looked up when it is sent: members leave, and addresses bounce."""

from uuid import UUID

from pydantic import BaseModel

from app.emails.send import is_suppressed
from app.queries.members import find_member, find_organization
from app.tenant import tenant_db


class Recipient(BaseModel):
    """Who the mail is for; without an address there is a reason for that."""

    name: str = ""
    organization: str = ""
    address: str | None = None
    reason: str = ""


async def find_recipient(organization_id: UUID, user_id: str) -> Recipient:
    """Return the member to write to, or why nobody is written to."""
    async with tenant_db(organization_id) as session:
        user = await find_member(session, organization_id, user_id)
        organization = await find_organization(session, organization_id)
        if user is None or organization is None:
            return Recipient(reason="the user is no member of the organization")
        if await is_suppressed(session, user.email):
            return Recipient(reason="the address is suppressed")
        return Recipient(name=user.name, organization=organization.name, address=user.email)
