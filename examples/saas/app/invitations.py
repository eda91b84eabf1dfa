"""Inviting somebody: one mail, sent while the inviter waits, because they want to know.

It is no task. One call of a fifth of a second crosses none of the five conditions of
docs/concepts/when-to-use.md, and a queue could only say "it will be sent".
"""

import asyncio
from uuid import UUID

from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.audit import log_audit
from app.emails.letter import Letter
from app.emails.send import is_suppressed, send_email
from app.queries.members import find_member, find_organization
from app.result import Err, Ok, Result
from app.schema import Invitation
from app.settings import settings
from app.tenant import tenant_db

VALID_SECONDS = 7 * 24 * 3600


async def invite_member(user_id: str, organization_id: UUID, email: str) -> Result[str]:
    """Invite an address and tell whether the mail went out; asking again sends it again."""
    address = email.strip().lower()
    async with tenant_db(organization_id) as session:
        inviter = await find_member(session, organization_id, user_id)
        organization = await find_organization(session, organization_id)
        if inviter is None or organization is None:
            return Err("forbidden", "only members of the organization can invite")
        if await is_suppressed(session, address):
            return Err("refused", f"{address} takes no mail from us")
        row = insert(Invitation).values(
            organization_id=organization_id, email=address, invited_by=user_id
        )
        await session.execute(row.on_conflict_do_nothing(constraint="invited_once"))
        found = select(Invitation.id).where(
            Invitation.organization_id == organization_id, Invitation.email == address
        )
        invitation_id = (await session.scalars(found)).one()
    invites = f"{inviter.name} invites you to {organization.name}"
    letter = Letter(
        subject=invites,
        greeting="Hello",
        paragraphs=(f"{invites} on {settings().app_name}.",),
        button="Join",
        url=f"{settings().app_url}/invitations/{sign(invitation_id)}",
        why="You get this mail because somebody entered your address.",
    )
    try:
        # Between two transactions: none is open while a mail server takes its time.
        await asyncio.to_thread(send_email, letter, to=address, key=f"invitation-{invitation_id}")
    except OSError as error:
        return Err("unavailable", f"the mail could not be sent, try again: {error}")
    async with tenant_db(organization_id) as session:
        sent = update(Invitation).where(Invitation.id == invitation_id)
        await session.execute(sent.values(sent_at=func.now()))
        await log_audit(
            session,
            organization_id=organization_id,
            actor_id=user_id,
            action="member.invited",
            subject=f"invitation:{invitation_id}",
        )
    return Ok(address)


def sign(invitation_id: UUID) -> str:
    """Return what stands in the mail's link."""
    return _signer().dumps(str(invitation_id))


def read_signed(token: str) -> UUID | None:
    """Return the invitation of a link, or None if we did not write it or it is too old."""
    try:
        return UUID(_signer().loads(token, max_age=VALID_SECONDS))
    except (BadSignature, ValueError):
        return None


def _signer() -> URLSafeTimedSerializer:
    secret = settings().invitation_signing_secret.get_secret_value()
    return URLSafeTimedSerializer(secret, salt="invitation")
