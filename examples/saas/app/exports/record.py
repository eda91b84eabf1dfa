"""The `exports` row: asked for, running as, completed, failed. Every change is safe to repeat."""

from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit import log_audit
from app.exports.payload import ExportPayload
from app.schema import Export
from app.tenant import tenant_db


async def note_request(
    session: AsyncSession, *, organization_id: UUID, user_id: str, day: str, key: str
) -> UUID:
    """Return the id of the day's row, new or not."""
    row = insert(Export).values(
        organization_id=organization_id, requested_by=user_id, day_bucket=day, idempotency_key=key
    )
    await session.execute(row.on_conflict_do_nothing(constraint="export_once_a_day"))
    found = select(Export.id).where(
        Export.organization_id == organization_id,
        Export.requested_by == user_id,
        Export.day_bucket == day,
    )
    return (await session.scalars(found)).one()


async def note_run(session: AsyncSession, export_id: UUID, run_id: str) -> None:
    """Name the run that works on it. A run quicker than this note has already named itself."""
    named = update(Export).where(
        Export.id == export_id,
        Export.run_id.is_distinct_from(run_id),
        Export.status != "completed",
    )
    await session.execute(named.values(run_id=run_id, status="requested"))


async def complete_export(
    payload: ExportPayload, *, run_id: str, rows: int, pages: int, download_url: str
) -> None:
    """Close the export and write the audit row in one transaction: both or neither.

    A run that is replayed after a crash calls this again: a completed row stays as it is, and the
    audit row of the run is there once.
    """
    async with tenant_db(payload.organization_id) as session:
        closed = update(Export).where(Export.id == payload.export_id, Export.status != "completed")
        await session.execute(
            closed.values(
                status="completed",
                run_id=run_id,
                row_count=rows,
                pages_done=pages,
                pages_total=pages,
                download_url=download_url,
                completed_at=func.now(),
            )
        )
        await log_audit(
            session,
            organization_id=payload.organization_id,
            actor_id=payload.requested_by,
            action="export.invoices.completed",
            subject=f"export:{payload.export_id}",
            run_id=run_id,
            data={"rows": rows, "pages": pages},
        )


async def fail_export(payload: ExportPayload, *, run_id: str) -> None:
    """Mark the export as failed, so that the next click may start another."""
    async with tenant_db(payload.organization_id) as session:
        failed = update(Export).where(Export.id == payload.export_id, Export.status != "completed")
        await session.execute(failed.values(status="failed", run_id=run_id))
