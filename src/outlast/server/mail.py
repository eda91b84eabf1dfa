"""E-mail: the server that takes it, as one URL, and one message handed to it."""

import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

_PORTS = {"smtp": 587, "smtps": 465}


@dataclass(frozen=True, kw_only=True)
class MailServer:
    """`smtp://user:password@host:587?from=address`. `smtps`: encrypted from the first byte.

    With `smtp` the connection is encrypted where the server offers it; with a password it must be.
    """

    host: str
    port: int
    sender: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    is_tls: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the server that a URL names. Raises `ValueError`."""
        url = urlsplit(text)
        sender = parse_qs(url.query).get("from", [""])[0]
        if url.scheme not in _PORTS or not url.hostname or "@" not in sender:
            raise ValueError("no scheme, host or sender that makes sense")
        return cls(
            host=url.hostname,
            port=url.port or _PORTS[url.scheme],
            sender=sender,
            user=unquote(url.username) if url.username else None,
            password=unquote(url.password) if url.password else None,
            is_tls=url.scheme == "smtps",
        )

    def send(self, to: str, subject: str, text: str, *, seconds: float) -> None:
        """Hand one message over; blocks. Raises `smtplib.SMTPException`, `OSError`."""
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self.sender, to, subject
        message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain=self.host)
        message.set_content(text)
        context = ssl.create_default_context()
        with (
            smtplib.SMTP_SSL(self.host, self.port, timeout=seconds, context=context)
            if self.is_tls
            else smtplib.SMTP(self.host, self.port, timeout=seconds)
        ) as server:
            server.ehlo()
            if not self.is_tls and (self.password or server.has_extn("starttls")):
                server.starttls(context=context)
            if self.user is not None:
                server.login(self.user, self.password or "")
            server.send_message(message)
