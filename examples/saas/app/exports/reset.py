"""Forgetting an organization's exports, so that today's button starts another: for development."""

from contextlib import suppress
from uuid import UUID

from outlast import NotFoundError, idempotency_keys, runs
from sqlalchemy import delete, select

from app.exports.files import export_path
from app.schema import Export
from app.tenant import tenant_db


async def reset_exports(organization_id: UUID) -> int:
    """Cancel what runs, forget keys, rows and files; the audit trail stays. Returns how many."""
    async with tenant_db(organization_id) as session:
        exports = (await session.scalars(select(Export))).all()
    for export in exports:
        with suppress(NotFoundError):  # a key that ran out, or a run that the platform pruned
            await idempotency_keys.reset("export-invoices", export.idempotency_key)
        if export.run_id is not None:
            if export.status == "requested":
                with suppress(NotFoundError):
                    await runs.cancel(export.run_id)
            export_path(export.run_id).unlink(missing_ok=True)
    async with tenant_db(organization_id) as session:
        await session.execute(delete(Export).where(Export.id.in_([one.id for one in exports])))
    return len(exports)
