"""The payment provider's REST interface: what we read of it, and the two effects we ask it for.

Every effect carries an idempotency key. Asked again under the same key, the provider answers what
it answered before and does nothing: that, and only that, makes "paid back" happen once.
"""

from functools import cache
from typing import Literal

import httpx
from outlast import Retry, retry
from pydantic import BaseModel

from app.settings import settings

# The provider limits our rate and has bad minutes. These waits are part of one step; when they are
# not enough, the step fails, and the run's own retries take over with longer ones.
PATIENCE = retry.HttpRetry(
    by_status={"429,500,502,503,504": Retry(max_attempts=6, min_timeout="100ms", max_timeout="5s")}
)

Status = Literal["trialing", "active", "past_due", "canceled"]


class Subscription(BaseModel):
    """What a customer pays for."""

    id: str
    customer: str
    status: Status
    plan: str


class Effect(BaseModel):
    """Money that the provider has moved."""

    id: str
    amount: int


@cache
def client() -> httpx.AsyncClient:
    """Return this process's connections to the provider."""
    return retry.AsyncClient(
        PATIENCE,
        base_url=settings().payments_url,
        headers={"Authorization": f"Bearer {settings().payments_secret_key.get_secret_value()}"},
        timeout=10,
    )


async def find_subscription(customer_id: str) -> Subscription | None:
    """Return the customer's subscription. Raises `httpx.HTTPError` when there is no answer."""
    answer = await client().get("/v1/subscriptions", params={"customer": customer_id, "limit": 1})
    found = answer.raise_for_status().json()["data"]
    if not found:
        return None
    [item] = found[0]["items"]["data"]
    return Subscription.model_validate({**found[0], "plan": item["price"]["lookup_key"]})


async def credit(customer_id: str, *, cents: int, why: str, key: str) -> Effect:
    """Put money into the customer's balance, once per key."""
    return await _ask(
        f"/v1/customers/{customer_id}/balance_transactions",
        {"amount": str(-cents), "currency": "eur", "description": why},
        key,
    )


async def refund(invoice: str, *, cents: int, key: str) -> Effect:
    """Pay money back, once per key."""
    return await _ask("/v1/refunds", {"amount": str(cents), "metadata[invoice]": invoice}, key)


async def _ask(path: str, form: dict[str, str], key: str) -> Effect:
    answer = await client().post(path, data=form, headers={"Idempotency-Key": key})
    return Effect.model_validate(answer.raise_for_status().json())
