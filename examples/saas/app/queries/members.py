"""Members: who belongs to an organization."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.schema import Member, Organization, User


async def find_member(session: AsyncSession, organization_id: UUID, user_id: str) -> User | None:
    """Return the user, or None if they do not belong to the organization."""
    found = (
        select(User)
        .join(Member, Member.user_id == User.id)
        .where(Member.organization_id == organization_id, User.id == user_id)
    )
    return await session.scalar(found)


async def find_organization(session: AsyncSession, organization_id: UUID) -> Organization | None:
    """Return the organization, if the transaction's tenant may see it."""
    return await session.get(Organization, organization_id)


async def list_members(session: AsyncSession, organization_id: UUID) -> Sequence[Member]:
    """Return the organization's members, owners first."""
    members = (
        select(Member)
        .where(Member.organization_id == organization_id)
        .order_by(Member.role.desc(), Member.user_id)
    )
    return (await session.scalars(members)).all()


async def is_owner(session: AsyncSession, organization_id: UUID, user_id: str) -> bool:
    """Tell whether the user decides for the organization."""
    member = await session.get(Member, (organization_id, user_id))
    return member is not None and member.role == "owner"
