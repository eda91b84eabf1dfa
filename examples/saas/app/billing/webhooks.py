"""What the payment provider tells us by itself, if it arrives: signed, repeated, out of order."""

import hashlib
import hmac
import time

from pydantic import BaseModel

from app.billing.entitlements import take_over
from app.billing.provider import find_subscription
from app.crossings import find_organization_of_customer
from app.settings import settings
from app.tenant import tenant_db

TOLERANCE_SECONDS = 300
"""An older signature may have been recorded and sent again."""


class EventObject(BaseModel):
    """What an event is about."""

    customer: str


class EventData(BaseModel):
    """The part of an event that we read."""

    object: EventObject


class Event(BaseModel):
    """Something that happened at the provider."""

    id: str
    type: str
    data: EventData


def is_genuine(header: str, body: bytes) -> bool:
    """Check `t=<time>,v1=<HMAC of time and body>`, in a time that tells nothing about it."""
    parts = dict(part.partition("=")[::2] for part in header.split(","))
    moment = parts.get("t", "")
    if not moment.isdecimal() or abs(time.time() - int(moment)) > TOLERANCE_SECONDS:
        return False
    secret = settings().payments_webhook_secret.get_secret_value().encode()
    expected = hmac.new(secret, f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, parts.get("v1", ""))


async def take_in(event: Event) -> bool:
    """Bring the customer's entitlement up to date; False: it is no customer of ours.

    The event is only a reason to look: it may be late or come twice, what the provider says now
    is right. One request, nothing to repeat: the provider sends the event again if we fail.
    """
    customer = event.data.object.customer
    organization_id = await find_organization_of_customer(customer)
    theirs = await find_subscription(customer)
    if organization_id is None or theirs is None:
        return False
    async with tenant_db(organization_id) as session:
        await take_over(session, organization_id, theirs, source="webhook")
    return True
