"""The audit trail: written in the transaction of the change that it tells of, never later."""

from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.schema import AuditLog


async def log_audit(
    session: AsyncSession,
    *,
    organization_id: UUID,
    action: str,
    subject: str,
    actor_id: str | None = None,
    run_id: str | None = None,
    data: dict[str, object] | None = None,
) -> None:
    """Add a row to the transaction of `session`.

    The same action of the same run is written once, however often a step is repeated.
    """
    row = insert(AuditLog).values(
        organization_id=organization_id,
        actor_id=actor_id,
        action=action,
        subject=subject,
        run_id=run_id,
        data=data or {},
    )
    await session.execute(row.on_conflict_do_nothing(constraint="audit_once_per_run"))
