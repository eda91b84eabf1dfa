"""Telling the user that their export is ready: exactly one mail, however often we are killed."""

from uuid import UUID

from outlast import Context, Retry, step, task
from pydantic import BaseModel

from app.emails.export_ready import ExportReady
from app.emails.send import is_suppressed, send_email
from app.queries.members import find_member, find_organization
from app.tenant import tenant_db


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


class Recipient(BaseModel):
    """Who the mail is for; without an address there is a reason for that."""

    name: str = ""
    organization: str = ""
    address: str | None = None
    reason: str = ""


@task("send-export-email", retry=Retry(max_attempts=8, min_timeout="500ms"), max_duration="5m")
async def send_export_email(payload: ExportEmailPayload, ctx: Context) -> ExportEmailResult:
    """Look the recipient up, respect suppressions, send.

    A step is recorded once but may run twice: killed after the server took the mail and before we
    heard so, we send again. The step's token is the same both times, and it is the Message-ID, by
    which the mail server knows that it has that mail.
    """
    recipient = await step(
        "find-recipient", find_recipient, payload.organization_id, payload.user_id
    )
    if recipient.address is None:
        return ExportEmailResult(sent=False, reason=recipient.reason)
    address = recipient.address
    mail = ExportReady(
        name=recipient.name, organization=recipient.organization, rows=payload.rows, url=payload.url
    )

    def send() -> None:
        send_email(
            to=address,
            subject=mail.subject,
            text=mail.as_text(),
            html=mail.as_html(),
            message_id=f"<{ctx.step.token}@northwind.example>",
        )

    await step("send-mail", send)
    return ExportEmailResult(sent=True)


async def find_recipient(organization_id: UUID, user_id: str) -> Recipient:
    """Return the member to write to, or why nobody is written to."""
    async with tenant_db(organization_id) as session:
        user = await find_member(session, organization_id, user_id)
        organization = await find_organization(session, organization_id)
        if user is None or organization is None:
            return Recipient(reason="the user is no member of the organization")
        if await is_suppressed(session, user.email):
            return Recipient(reason="the address is suppressed")
        return Recipient(name=user.name, organization=organization.name, address=user.email)
