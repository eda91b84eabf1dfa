"""A refund: small ones at once, large ones when a colleague has said yes."""

from pydantic import BaseModel

from outlast import AbortTaskRunError, WaitpointTimeoutError, step, task, wait

LIMIT = 100


class Refund(BaseModel):
    """What is to be paid back."""

    order: str
    amount: int


class Approval(BaseModel):
    """What the colleague says."""

    approved: bool
    by: str


@task("refund-order")
async def refund_order(payload: Refund) -> str:
    """Pay money back; above the limit a person decides, within a day."""
    approved_by = "the rules"
    if payload.amount > LIMIT:
        # The key makes one question per order, however often the refund is triggered.
        token = await wait.create_token(
            timeout="1d", tags=["approval", "refund"], idempotency_key=f"refund-{payload.order}"
        )
        try:
            approval = await wait.for_token(token, type=Approval).unwrap()
        except WaitpointTimeoutError:
            raise AbortTaskRunError(f"nobody decided about {payload.order} in a day") from None
        if not approval.approved:
            return f"refused by {approval.by}"
        approved_by = approval.by
    await step("pay", pay, payload.order, payload.amount)
    return f"{payload.amount} paid back, approved by {approved_by}"


def pay(order: str, amount: int) -> None:
    """Stand for the payment provider: a step, because it must not happen twice."""
    print(f"paid {amount} back for {order}")
