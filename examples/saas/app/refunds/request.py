"""Asking for a refund, and deciding about it: the app's side."""

from uuid import UUID

from outlast import ApiError, NotFoundError, TransportError, tasks, wait
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from app.queries.members import find_member, is_owner
from app.refunds.payload import Decision, RefundPayload
from app.result import Err, Ok, Result
from app.schema import Invoice, Refund
from app.tenant import tenant_db


async def request_refund(user_id: str, organization_id: UUID, number: int) -> Result[UUID]:
    """Ask for an invoice's money back, once per invoice; a run waits for the owner's decision."""
    async with tenant_db(organization_id) as session:
        if await find_member(session, organization_id, user_id) is None:
            return Err("forbidden", "only members of the organization can ask for a refund")
        paid = select(Invoice.amount_cents).where(
            Invoice.organization_id == organization_id,
            Invoice.number == number,
            Invoice.status == "paid",
        )
        if (cents := await session.scalar(paid)) is None:
            return Err("refused", f"there is no paid invoice {number}")
        row = insert(Refund).values(
            organization_id=organization_id,
            invoice_number=number,
            amount_cents=cents,
            requested_by=user_id,
        )
        await session.execute(row.on_conflict_do_nothing(constraint="refund_once_per_invoice"))
        found = select(Refund.id).where(
            Refund.organization_id == organization_id, Refund.invoice_number == number
        )
        refund_id = (await session.scalars(found)).one()
    try:
        await tasks.trigger(
            "refund-invoice",
            RefundPayload(
                organization_id=organization_id, refund_id=refund_id, requested_by=user_id
            ),
            idempotency_key=f"refund:{refund_id}",
            idempotency_key_ttl="30d",
            tags=[f"organization:{organization_id}"],
        )
    except (ApiError, TransportError) as error:
        return Err("unavailable", f"the refund could not be asked for, try again: {error}")
    return Ok(refund_id)


async def decide_refund(
    user_id: str, organization_id: UUID, refund_id: UUID, *, approved: bool
) -> Result[None]:
    """Complete the token that the run waits for. The first answer counts."""
    async with tenant_db(organization_id) as session:
        if not await is_owner(session, organization_id, user_id):
            return Err("forbidden", "only an owner of the organization can decide about a refund")
        refund = await session.get(Refund, refund_id)
    if refund is None or refund.token_id is None:
        return Err("refused", "this refund does not wait for anybody")
    try:
        await wait.complete_token(refund.token_id, Decision(approved=approved, decided_by=user_id))
    except NotFoundError:
        return Err("refused", "this refund does not wait any more")
    return Ok(None)
