"""Invoices: how many there are, and a page of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.schema import Invoice


@dataclass(frozen=True, slots=True)
class InvoiceCount:
    """How many invoices there are, and the number of the last: what comes later is not exported."""

    rows: int
    last_number: int


async def count_invoices(session: AsyncSession, organization_id: UUID) -> InvoiceCount:
    """Count the organization's invoices."""
    counted = select(func.count(), func.coalesce(func.max(Invoice.number), 0)).where(
        Invoice.organization_id == organization_id
    )
    rows, last_number = (await session.execute(counted)).one()
    return InvoiceCount(rows, last_number)


async def list_invoices(
    session: AsyncSession, organization_id: UUID, *, after: int, up_to: int, limit: int
) -> Sequence[Invoice]:
    """Return the next invoices by number: `after` is the last one of the page before.

    Pages by key, not by offset: page 2,000 costs what page 1 costs, and a row that is inserted
    meanwhile shifts nothing.
    """
    page = (
        select(Invoice)
        .where(
            Invoice.organization_id == organization_id,
            Invoice.number > after,
            Invoice.number <= up_to,
        )
        .order_by(Invoice.number)
        .limit(limit)
    )
    return (await session.scalars(page)).all()
