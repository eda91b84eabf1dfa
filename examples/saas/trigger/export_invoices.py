"""The invoice export: one child run per page, one file, one mail, one audit row."""

from math import ceil
from typing import TypedDict
from uuid import UUID

from outlast import (
    AbortTaskRunError,
    Context,
    Queue,
    Retry,
    idempotency_keys,
    metadata,
    step,
    task,
)
from pydantic import BaseModel

from app.exports.csv_text import header_line
from app.exports.files import download_url, export_path, write_atomically
from app.exports.payload import ExportPayload
from app.exports.record import complete_export, fail_export
from app.queries.invoices import InvoiceCount, count_invoices
from app.tenant import tenant_db
from trigger.paginate_page import PagePayload, paginate_page
from trigger.send_export_email import ExportEmailPayload, send_export_email

# One at a time per organization: the app triggers with the organization as concurrency key, which
# gives each a lane of its own.
exports = Queue("export", concurrency_limit=1)


class Lane(TypedDict):
    """Options of a trigger: where its run queues."""

    queue: Queue
    concurrency_key: str
    priority: float


class ExportResult(BaseModel):
    """The finished export."""

    path: str
    url: str
    rows: int
    pages: int
    mailed: bool


@task(
    "export-invoices",
    queue=exports,
    retry=Retry(max_attempts=5, min_timeout="500ms"),
    max_duration="30m",
)
async def export_invoices(payload: ExportPayload, ctx: Context) -> ExportResult:
    """Export the organization's invoices.

    Killed anywhere, it goes on here: what is awaited below is in the journal, and a finished page,
    step or mail answers from there.
    """
    run_id = ctx.run.id
    counted = await step("count-invoices", count, payload.organization_id)
    if counted.rows == 0:
        await step("fail-export", fail_export, payload, run_id=run_id)
        raise AbortTaskRunError(
            f"organization {payload.organization_id} has no invoices; there is nothing to export"
        )

    pages, rows = await _read_pages(payload, counted)
    path, url = export_path(run_id), download_url(run_id)
    await step("write-file", write_atomically, path, [header_line(), *pages])

    email = await send_export_email.trigger_and_wait(
        ExportEmailPayload(
            organization_id=payload.organization_id,
            user_id=payload.requested_by,
            rows=rows,
            url=url,
        ),
        idempotency_key=idempotency_keys.create("export-email", scope="run"),
        **in_lane(payload.organization_id),
    ).unwrap()

    await step(
        "complete-export",
        complete_export,
        payload,
        run_id=run_id,
        rows=rows,
        pages=len(pages),
        download_url=url,
    )
    return ExportResult(path=str(path), url=url, rows=rows, pages=len(pages), mailed=email.sent)


def in_lane(organization_id: UUID) -> Lane:
    """Return what puts a child into the organization's lane, in front of it.

    A run that waits gives its place back. Here its own page takes it, so the next export of the
    organization begins when this one is done, and not between two of its pages.
    """
    return {"queue": exports, "concurrency_key": str(organization_id), "priority": 3600}


async def count(organization_id: UUID) -> InvoiceCount:
    """Count once: invoices that are written during the export are not part of it."""
    async with tenant_db(organization_id) as session:
        return await count_invoices(session, organization_id)


async def _read_pages(payload: ExportPayload, counted: InvoiceCount) -> tuple[list[str], int]:
    """Return the pages as CSV, and the number of rows."""
    total = ceil(counted.rows / payload.page_rows)
    metadata.set("pagesTotal", total).set("pagesDone", 0)
    pages, rows, after = list[str](), 0, 0
    for done in range(1, total + 1):
        page = await paginate_page.trigger_and_wait(
            PagePayload(
                organization_id=payload.organization_id,
                after=after,
                up_to=counted.last_number,
                limit=payload.page_rows,
            ),
            **in_lane(payload.organization_id),
        ).unwrap()
        pages.append(page.csv)
        rows, after = rows + page.rows, page.last_number
        metadata.set("pagesDone", done)
    return pages, rows
