"""The audit trail: written in the transaction of the change that it tells of, never later."""

from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.schema import AuditLog


async def log_audit(
    session: AsyncSession,
    *,
    organization_id: UUID,
    actor_id: str,
    action: str,
    subject: str,
    run_id: str,
    data: dict[str, object],
) -> None:
    """Add a row. The same action of the same run is written once, however often it is asked for."""
    row = insert(AuditLog).values(
        organization_id=organization_id,
        actor_id=actor_id,
        action=action,
        subject=subject,
        run_id=run_id,
        data=data,
    )
    await session.execute(row.on_conflict_do_nothing(constraint="audit_once_per_run"))
