"""The forms of the inspector, each at the tier where its work belongs."""

from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, BackgroundTasks, Form, Request
from fastapi.responses import Response

from app.analytics import track
from app.checkout import check_out
from app.digests import set_digest_time
from app.invitations import invite_member
from app.notifications.notify import notify_event
from app.refunds.request import decide_refund, request_refund
from app.web.pages import back, back_with
from app.web.session import Caller

router = APIRouter()


@router.post("/invitations")
async def invite(request: Request, caller: Caller, email: Annotated[str, Form()]) -> Response:
    """Inline: the mail is sent before we answer, and the answer says whether it was."""
    answer = await invite_member(caller.user_id, caller.organization_id, email)
    return back_with(request, answer, f"{email} has been invited: the mail is sent")


@router.post("/checkout")
async def sell(
    request: Request,
    caller: Caller,
    background: BackgroundTasks,
    amount: Annotated[float, Form(gt=0, le=1_000_000)],
    customer: Annotated[str, Form(min_length=1)] = "Walk-in",
) -> Response:
    """Sell: row and audit row in one transaction, analytics after the response.

    The background task starts when the sale is committed and the answer is on its way: whatever
    becomes of it, the sale stands.
    """
    cents = round(amount * 100)
    number = await check_out(
        caller.user_id, caller.organization_id, customer=customer, amount_cents=cents
    )
    background.add_task(
        track, "checkout", organization_id=str(caller.organization_id), amount_cents=cents
    )
    answer = back(request, f"sold: invoice {number}")
    answer.background = background
    return answer


@router.post("/comments")
async def comment(
    request: Request, caller: Caller, text: Annotated[str, Form(min_length=1)]
) -> Response:
    """Durable: one event goes to every member on every channel."""
    await notify_event(caller.organization_id, "comment.added", event_id=uuid4(), text=text)
    return back(request, "everybody will hear of it")


@router.post("/digest")
async def digest(
    request: Request,
    caller: Caller,
    hour: Annotated[int, Form(ge=0, le=23)],
    timezone: Annotated[str, Form()],
) -> Response:
    """Durable, by the clock: a schedule of the organization's own."""
    answer = await set_digest_time(
        caller.user_id, caller.organization_id, hour=hour, timezone=timezone
    )
    return back_with(request, answer, f"the digest comes at {hour:02d}:00, {timezone}")


@router.post("/refunds")
async def ask_for_refund(
    request: Request, caller: Caller, number: Annotated[int, Form(ge=1)]
) -> Response:
    """Durable: a run waits for an owner's decision, for days if need be."""
    answer = await request_refund(caller.user_id, caller.organization_id, number)
    return back_with(request, answer, f"an owner decides about the refund of invoice {number}")


@router.post("/refunds/{refund_id}")
async def decide(
    request: Request, caller: Caller, refund_id: UUID, approved: Annotated[bool, Form()]
) -> Response:
    """Answer a run that waits."""
    answer = await decide_refund(
        caller.user_id, caller.organization_id, refund_id, approved=approved
    )
    return back_with(request, answer, "the refund goes on" if approved else "the refund is refused")
