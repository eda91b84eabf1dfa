"""The `refunds` row, changed by the task. Every change is safe to repeat."""

from pydantic import BaseModel
from sqlalchemy import update

from app.audit import log_audit
from app.refunds.payload import Decision, RefundPayload
from app.schema import Refund
from app.tenant import tenant_db


class Asked(BaseModel):
    """What is to be paid back."""

    invoice_number: int
    amount_cents: int


async def note_token(payload: RefundPayload, token_id: str) -> Asked:
    """Note what the run waits for, so that the owner's answer finds it."""
    async with tenant_db(payload.organization_id) as session:
        refund = await session.get_one(Refund, payload.refund_id)
        refund.token_id = token_id
        return Asked(invoice_number=refund.invoice_number, amount_cents=refund.amount_cents)


async def close_refund(
    payload: RefundPayload, *, status: str, decision: Decision | None, run_id: str
) -> None:
    """Write how it ended, and the audit row, in one transaction."""
    decided_by = decision.decided_by if decision else None
    async with tenant_db(payload.organization_id) as session:
        closed = update(Refund).where(Refund.id == payload.refund_id, Refund.status == "requested")
        await session.execute(closed.values(status=status, decided_by=decided_by))
        await log_audit(
            session,
            organization_id=payload.organization_id,
            actor_id=decided_by,
            action=f"refund.{status}",
            subject=f"refund:{payload.refund_id}",
            run_id=run_id,
        )
