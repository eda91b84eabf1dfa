"""A sale: its invoice and its audit row in one transaction; analytics come after the response."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import func, select

from app.audit import log_audit
from app.schema import Invoice
from app.tenant import tenant_db

TERMS = timedelta(days=30)


async def check_out(
    user_id: str, organization_id: UUID, *, customer: str, amount_cents: int
) -> int:
    """Record a sale and return its invoice's number.

    The audit row is part of the change, so it is part of the transaction: a trail that can miss a
    sale, or tell of one that was rolled back, is worse than none.
    """
    today = datetime.now(UTC).date()
    async with tenant_db(organization_id) as session:
        # Numbers have no gaps, so two sales of one organization take them one after the other.
        lock = func.pg_advisory_xact_lock(func.hashtextextended(str(organization_id), 0))
        await session.execute(select(lock))
        last = await session.scalar(
            select(func.max(Invoice.number)).where(Invoice.organization_id == organization_id)
        )
        number = (last or 0) + 1
        session.add(
            Invoice(
                id=uuid4(),
                organization_id=organization_id,
                number=number,
                customer=customer,
                description="Sold at the checkout",
                amount_cents=amount_cents,
                currency="EUR",
                status="paid",
                issued_on=today,
                due_on=today + TERMS,
            )
        )
        await log_audit(
            session,
            organization_id=organization_id,
            actor_id=user_id,
            action="checkout.completed",
            subject=f"invoice:{number}",
            data={"amount_cents": amount_cents},
        )
    return number
