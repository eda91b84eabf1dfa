"""What the app hands to the export task: in a place of its own, because both need it."""

from uuid import UUID

from pydantic import BaseModel, Field


class ExportPayload(BaseModel):
    """One export. A task has no session to look at: who asks and for whom is cargo."""

    organization_id: UUID
    requested_by: str
    export_id: UUID
    page_rows: int = Field(default=25, ge=1, le=5_000)
