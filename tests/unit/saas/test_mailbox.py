import asyncio
import smtplib
from email.message import EmailMessage
from pathlib import Path

from local.mailbox import Mailbox, port_of, serve


def mail(message_id: str, text: str = "Grüße") -> EmailMessage:
    message = EmailMessage()
    message["Message-ID"] = message_id
    message["From"], message["To"] = "app@example.com", "ada@example.com"
    message["Subject"] = "Größe"
    message.set_content(text)
    return message


async def send(port: int, *messages: EmailMessage) -> None:
    def blocking() -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as smtp:
            for message in messages:
                smtp.send_message(message)

    await asyncio.to_thread(blocking)


async def test_a_mail_is_delivered_once_per_message_id(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path / "mail")
    async with await serve(mailbox) as server:
        await send(port_of(server), mail("<1@x>"), mail("<2@x>"), mail("<1@x>"))

    assert [str(message["Message-ID"]) for message in mailbox.mails()] == ["<1@x>", "<2@x>"]
    assert mailbox.received == ["<1@x>", "<2@x>", "<1@x>"]


async def test_a_mailbox_knows_its_mails_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        async with await serve(Mailbox(tmp_path)) as server:
            await send(port_of(server), mail("<1@x>"))

    assert len(Mailbox(tmp_path).mails()) == 1


async def test_a_stored_mail_reads_as_it_was_sent(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    async with await serve(mailbox) as server:
        await send(port_of(server), mail("<1@x>", "Grüße aus Köln"))

    [message] = mailbox.mails()
    body = message.get_body()
    assert str(message["Subject"]) == "Größe"
    assert body is not None
    assert body.get_content().strip() == "Grüße aus Köln"


async def test_a_mail_is_there_before_its_sender_hears_so(tmp_path: Path) -> None:
    stored: list[str] = []

    async def look(_: EmailMessage) -> None:
        stored.extend(str(message["Message-ID"]) for message in Mailbox(tmp_path).mails())

    async with await serve(Mailbox(tmp_path, before_answer=look)) as server:
        await send(port_of(server), mail("<1@x>"))

    assert stored == ["<1@x>"]
