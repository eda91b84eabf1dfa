"""Starting an export: what the button calls. It returns at once; the worker does the rest."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from outlast import ApiError, TransportError, tasks

from app.exports.day import day_bucket
from app.exports.payload import ExportPayload
from app.exports.record import note_request, note_run
from app.queries.members import find_member
from app.result import Err, Ok, Result
from app.tenant import tenant_db


@dataclass(frozen=True, slots=True)
class StartedExport:
    """The run to watch; `is_new` is False when the day's export was there already."""

    run_id: str
    is_new: bool


async def start_export(
    user_id: str, organization_id: UUID, *, page_rows: int = 25, moment: datetime | None = None
) -> Result[StartedExport]:
    """Start today's invoice export of the organization for this user, or return the one there is.

    The row comes first and its id travels with the run, so a run that ends before we return still
    finds it. No transaction is open while we talk to the platform; if we die in between, the next
    click finds the row and the key, and ends up at the same run.
    """
    day = day_bucket(moment or datetime.now(UTC))
    key = f"export:{organization_id}:{user_id}:{day}"
    async with tenant_db(organization_id) as session:
        if await find_member(session, organization_id, user_id) is None:
            return Err("forbidden", "only members of the organization can export its invoices")
        export_id = await note_request(
            session, organization_id=organization_id, user_id=user_id, day=day, key=key
        )
    try:
        handle = await tasks.trigger(
            "export-invoices",
            ExportPayload(
                organization_id=organization_id,
                requested_by=user_id,
                export_id=export_id,
                page_rows=page_rows,
            ),
            concurrency_key=str(organization_id),
            idempotency_key=key,
            idempotency_key_ttl="24h",
            tags=[f"organization:{organization_id}", f"user:{user_id}"],
        )
    except (ApiError, TransportError) as error:
        return Err("unavailable", f"the export could not be started, try again: {error}")
    async with tenant_db(organization_id) as session:
        await note_run(session, export_id, handle.id)
    return Ok(StartedExport(run_id=handle.id, is_new=not handle.is_cached))
