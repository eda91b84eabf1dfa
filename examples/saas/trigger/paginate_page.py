"""One page of an export: a durable checkpoint, whose output a replay of the parent reads again."""

import asyncio
from uuid import UUID

from outlast import Retry, task
from pydantic import BaseModel

from app.exports.csv_text import invoice_row, rows_to_csv
from app.queries.invoices import list_invoices
from app.settings import settings
from app.tenant import tenant_db


class PagePayload(BaseModel):
    """Which page: the `limit` invoices after number `after`, none beyond `up_to`."""

    organization_id: UUID
    after: int
    up_to: int
    limit: int


class Page(BaseModel):
    """The page as CSV without a header, and where the next one begins."""

    csv: str
    rows: int
    last_number: int


@task("paginate-page", retry=Retry(max_attempts=5, min_timeout="500ms"), max_duration="2m")
async def paginate_page(payload: PagePayload) -> Page:
    """Read one page of the organization's invoices."""
    await asyncio.sleep(settings().export_page_pause)
    async with tenant_db(payload.organization_id) as session:
        invoices = await list_invoices(
            session,
            payload.organization_id,
            after=payload.after,
            up_to=payload.up_to,
            limit=payload.limit,
        )
    return Page(
        csv=rows_to_csv(invoice_row(invoice) for invoice in invoices),
        rows=len(invoices),
        last_number=invoices[-1].number if invoices else payload.after,
    )
