"""Telling an organization's members that something happened: the app's side."""

from uuid import UUID, uuid4

from outlast import tasks
from pydantic import BaseModel, Field


class NotifyPayload(BaseModel):
    """One event. `event_id` names it: telling of it twice tells of it once."""

    organization_id: UUID
    event_type: str
    event_id: UUID = Field(default_factory=uuid4)
    text: str = ""


async def notify_event(organization_id: UUID, event_type: str, *, event_id: UUID, text: str) -> str:
    """Tell everybody, without waiting for it; return the run's id.

    The organization's lane keeps a thousand events of one tenant out of the way of all others.
    """
    payload = NotifyPayload(
        organization_id=organization_id, event_type=event_type, event_id=event_id, text=text
    )
    handle = await tasks.trigger(
        "notify-org-members",
        payload,
        concurrency_key=str(organization_id),
        idempotency_key=f"notify:{event_id}",
        tags=[f"organization:{organization_id}"],
    )
    return handle.id
