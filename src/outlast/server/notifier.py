"""Sends what alerts tell: to webhooks, to Slack, and by e-mail."""

import asyncio
import hashlib
import hmac
import smtplib
import ssl
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from http import HTTPStatus

import httpx
import msgspec

from outlast.engine.alerts import Destination
from outlast.engine.deliveries import SEND_SECONDS, Notice, Undelivered
from outlast.protocol.alert_events import SIGNATURE_HEADER, Event
from outlast.server.alert_events import Events, link, sentence
from outlast.server.mail import MailServer

_JSON = {"content-type": "application/json", "user-agent": "outlast"}
_MAIL_THREADS = 4


class Notifier:
    """Sends events to where alerts go. What is answered matters by its status alone.

    `mail`: who takes e-mail; None: nobody.
    """

    def __init__(self, events: Events, *, mail: MailServer | None) -> None:
        self._events = events
        self._mail = mail
        # A thread that a mail server holds for long is nobody else's.
        self._threads = ThreadPoolExecutor(_MAIL_THREADS, thread_name_prefix="mail")

    async def send(self, notice: Notice) -> bool:
        """Send a notice; False when what it is about is gone. Raises `Undelivered`."""
        event = await self._events.of(notice)
        if event is None:
            return False
        await self.tell(notice.destination, event)
        return True

    async def tell(self, destination: Destination, event: Event) -> None:
        """Send an event, within `SEND_SECONDS`. Raises `Undelivered`."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._tell(destination, event)
        except TimeoutError:
            raise Undelivered(f"no answer within {SEND_SECONDS:g} s") from None

    async def _tell(self, destination: Destination, event: Event) -> None:
        match destination.channel:
            case "webhook":
                body = event.to_json()
                signature = sign(body, destination.secret or "")
                await self._post(destination.address, body, {SIGNATURE_HEADER: signature})
            case "slack":
                text = f"*{_escaped(destination.name)}* {_escaped(sentence(event))} {link(event)}"
                body = msgspec.json.encode({"text": text.rstrip()})
                await self._post(destination.address, body, {})
            case "email":
                await self._write(destination, event)

    async def _write(self, destination: Destination, event: Event) -> None:
        if self._mail is None:
            raise Undelivered("OUTLAST_SMTP_URL is not set on this server")
        said = sentence(event)
        text = f"{said}\n\n{link(event)}\n\nSent by the alert {destination.name}.\n"
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._threads, self._hand_over, self._mail, destination.address, said, text
            )
        except (smtplib.SMTPException, OSError) as error:
            raise Undelivered(f"the mail server refused: {type(error).__name__}") from error

    async def _post(self, address: str, body: bytes, headers: dict[str, str]) -> None:
        """Post a body. What is answered is not read, and nobody is followed elsewhere."""
        try:
            async with (
                httpx.AsyncClient(
                    timeout=SEND_SECONDS, trust_env=False, verify=self._trusted
                ) as client,
                client.stream("POST", address, content=body, headers=_JSON | headers) as reply,
            ):
                status = reply.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Undelivered(f"the address does not answer: {type(error).__name__}") from error
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise Undelivered(f"the address answered {status}")

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        """Made once: reading every authority takes longer than sending."""
        return httpx.create_ssl_context(trust_env=False)

    @staticmethod
    def _hand_over(mail: MailServer, to: str, subject: str, text: str) -> None:
        mail.send(to, subject, text, seconds=SEND_SECONDS)


def sign(body: bytes, secret: str) -> str:
    """Return the signature of a webhook's body."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
