"""What an organization may use, brought to what the payment provider says."""

from datetime import UTC, datetime
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit import log_audit
from app.billing.provider import Subscription, credit, find_subscription
from app.schema import PlanEntitlement
from app.tenant import tenant_db

GOODWILL_CENTS = 500
"""What a customer gets who paid for a plan and did not have it."""


class Reconciled(BaseModel):
    """What came of looking at one organization."""

    plan: str
    drifted: bool


async def reconcile(organization_id: UUID, *, key: str, run_id: str) -> Reconciled:
    """Ask the provider what the organization pays for, and repair what we think of it.

    Safe to repeat from any point: the question changes nothing, the credit happens once per key,
    and the rest is one transaction.
    """
    async with tenant_db(organization_id) as session:
        ours = await session.get_one(PlanEntitlement, organization_id)
    # Between two transactions: the pool is shared, and the provider may take its time.
    theirs = await find_subscription(ours.customer_id)
    if theirs is None:
        theirs = Subscription(id="", customer=ours.customer_id, plan="none", status="canceled")
    drifted = _differs(ours, theirs)
    if drifted and theirs.status == "active":
        why = f"late start of {theirs.plan}"
        await credit(ours.customer_id, cents=GOODWILL_CENTS, why=why, key=key)
    async with tenant_db(organization_id) as session:
        await take_over(session, organization_id, theirs, source="reconciliation", run_id=run_id)
    return Reconciled(plan=theirs.plan, drifted=drifted)


async def take_over(
    session: AsyncSession,
    organization_id: UUID,
    theirs: Subscription,
    *,
    source: str,
    run_id: str | None = None,
) -> bool:
    """Write what the provider says, and an audit row if that is news. Returns whether it was."""
    ours = await session.get_one(PlanEntitlement, organization_id, with_for_update=True)
    is_news, was = _differs(ours, theirs), f"{ours.plan} {ours.status}"
    ours.plan, ours.status, ours.last_event_at = theirs.plan, theirs.status, datetime.now(UTC)
    if is_news:
        await log_audit(
            session,
            organization_id=organization_id,
            action=f"billing.{source}",
            subject=f"plan:{theirs.plan}",
            run_id=run_id,
            data={"was": was, "is": f"{theirs.plan} {theirs.status}"},
        )
    return is_news


def _differs(ours: PlanEntitlement, theirs: Subscription) -> bool:
    return (ours.plan, ours.status) != (theirs.plan, theirs.status)
