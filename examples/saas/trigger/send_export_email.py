"""Telling the user that their export is ready: exactly one mail, however often we are killed."""

from uuid import UUID

from outlast import Context, Retry, step, task
from pydantic import BaseModel

from app.emails.export_ready import export_ready
from app.emails.recipient import find_recipient
from app.emails.send import send_email


class ExportEmailPayload(BaseModel):
    """Who gets the mail, and what it says."""

    organization_id: UUID
    user_id: str
    rows: int
    url: str


class ExportEmailResult(BaseModel):
    """Whether a mail went out; `reason` says why not."""

    sent: bool
    reason: str = ""


@task("send-export-email", retry=Retry(max_attempts=8, min_timeout="500ms"), max_duration="5m")
async def send_export_email(payload: ExportEmailPayload, ctx: Context) -> ExportEmailResult:
    """Look the recipient up, respect suppressions, send.

    A step is recorded once but may run twice: killed after the server took the mail and before we
    heard so, we send again. The step's token is the same both times, and it goes out as the
    Message-ID, by which the mail server knows that it has that mail.
    """
    recipient = await step(
        "find-recipient", find_recipient, payload.organization_id, payload.user_id
    )
    if recipient.address is None:
        return ExportEmailResult(sent=False, reason=recipient.reason)
    letter = export_ready(
        name=recipient.name, organization=recipient.organization, rows=payload.rows, url=payload.url
    )
    address = recipient.address
    await step("send-mail", lambda: send_email(letter, to=address, key=ctx.step.token))
    return ExportEmailResult(sent=True)
