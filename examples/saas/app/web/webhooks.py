"""What the payment provider calls when something happened there."""

from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Request

from app.billing.webhooks import Event, is_genuine, take_in

router = APIRouter()


@router.post("/api/webhooks/payments")
async def hear(
    request: Request, stripe_signature: Annotated[str, Header()] = ""
) -> dict[str, bool]:
    """Take an event in. Anything but a 2xx makes the provider send it again."""
    body = await request.body()
    if not is_genuine(stripe_signature, body):
        raise HTTPException(401, "the signature is missing, wrong or too old")
    return {"taken": await take_in(Event.model_validate_json(body))}
