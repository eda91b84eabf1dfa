"""Sending one mail over SMTP, and the addresses that get none."""

import smtplib
from email.message import EmailMessage
from email.utils import formatdate
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.emails.letter import Letter
from app.schema import EmailSuppression
from app.settings import settings

TIMEOUT = 30
"""Seconds until a mail server that does not answer counts as failed."""


async def is_suppressed(session: AsyncSession, email: str) -> bool:
    """Tell whether the address must get no mail."""
    found = await session.scalar(
        select(EmailSuppression.email).where(EmailSuppression.email == email.lower())
    )
    return found is not None


def send_email(letter: Letter, *, to: str, key: str) -> None:
    """Send one mail; blocks. Raises `OSError` (`SMTPException` is one) if it was not taken.

    `key` names the mail: sent again under the same key, it is the same mail, and the server that
    has it drops the second one.
    """
    message = EmailMessage()
    message["Message-ID"] = f"<{key}@northwind.example>"
    message["Date"] = formatdate(usegmt=True)
    message["From"] = settings().email_from
    message["Reply-To"] = settings().email_reply_to
    message["To"] = to
    message["Subject"] = letter.subject
    message.set_content(letter.as_text())
    message.add_alternative(letter.as_html(), subtype="html")
    server = urlsplit(settings().smtp_url)
    with smtplib.SMTP(server.hostname or "127.0.0.1", server.port or 25, timeout=TIMEOUT) as smtp:
        smtp.send_message(message)
