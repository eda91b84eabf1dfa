"""What the app hands to the refund task, and what its owner answers."""

from uuid import UUID

from pydantic import BaseModel


class RefundPayload(BaseModel):
    """One refund."""

    organization_id: UUID
    refund_id: UUID
    requested_by: str


class Decision(BaseModel):
    """An owner's answer."""

    approved: bool
    decided_by: str
