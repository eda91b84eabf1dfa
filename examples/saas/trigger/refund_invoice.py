"""A refund that an owner must approve: the run waits for days and holds nothing meanwhile."""

from typing import Literal

from outlast import Context, Retry, WaitpointTimeoutError, step, task, wait
from pydantic import BaseModel

from app.billing.provider import Effect, refund
from app.refunds.payload import Decision, RefundPayload
from app.refunds.record import close_refund, note_token


class RefundResult(BaseModel):
    """How it ended."""

    status: Literal["refunded", "refused", "expired"]


@task("refund-invoice", retry=Retry(max_attempts=10, min_timeout="1s"), max_duration="10m")
async def refund_invoice(payload: RefundPayload, ctx: Context) -> RefundResult:
    """Wait for an owner's decision, at most a week; pay back when it is yes."""
    token = await wait.create_token(timeout="7d", tags=[f"organization:{payload.organization_id}"])
    asked = await step("note-token", note_token, payload, token.id)

    status: Literal["refunded", "refused", "expired"]
    decision: Decision | None = None
    try:
        decision = await wait.for_token(token, type=Decision).unwrap()
        status = "refunded" if decision.approved else "refused"
    except WaitpointTimeoutError:
        status = "expired"

    async def pay_back() -> Effect:
        # The key is the same however often this step is repeated, so the money goes back once.
        return await refund(
            f"INV-{asked.invoice_number:06d}", cents=asked.amount_cents, key=ctx.step.token
        )

    if status == "refunded":
        await step("pay-back", pay_back)
    await step(
        "close-refund", close_refund, payload, status=status, decision=decision, run_id=ctx.run.id
    )
    return RefundResult(status=status)
