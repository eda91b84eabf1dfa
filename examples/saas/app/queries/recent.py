"""What happened lately in an organization: what the inspector shows."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.schema import AuditLog, Export, Notification, Refund

# None of these names an organization: the transaction's tenant is the filter.


async def recent_exports(session: AsyncSession, *, limit: int = 5) -> Sequence[Export]:
    """Return the newest exports."""
    newest = select(Export).order_by(Export.requested_at.desc(), Export.id).limit(limit)
    return (await session.scalars(newest)).all()


async def find_export(session: AsyncSession, run_id: str) -> Export | None:
    """Return the export that a run works on, if it is the tenant's."""
    return await session.scalar(select(Export).where(Export.run_id == run_id))


async def latest_export(session: AsyncSession, user_id: str) -> Export | None:
    """Return the newest export that the user asked for."""
    newest = select(Export).where(Export.requested_by == user_id, Export.run_id.is_not(None))
    return await session.scalar(newest.order_by(Export.day_bucket.desc()).limit(1))


async def audit_tail(session: AsyncSession, *, limit: int = 10) -> Sequence[AuditLog]:
    """Return the newest rows of the audit trail."""
    newest = select(AuditLog).order_by(AuditLog.created_at.desc(), AuditLog.id).limit(limit)
    return (await session.scalars(newest)).all()


async def inbox(session: AsyncSession, user_id: str, *, limit: int = 5) -> Sequence[Notification]:
    """Return the newest entries of the user's inbox."""
    own = select(Notification).where(Notification.user_id == user_id)
    newest = own.order_by(Notification.created_at.desc(), Notification.id).limit(limit)
    return (await session.scalars(newest)).all()


async def recent_refunds(session: AsyncSession, *, limit: int = 5) -> Sequence[Refund]:
    """Return the newest refunds."""
    newest = select(Refund).order_by(Refund.requested_at.desc(), Refund.id).limit(limit)
    return (await session.scalars(newest)).all()
