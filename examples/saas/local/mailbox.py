"""The development mailbox: a mail server that delivers to a folder, once per Message-ID.

Run it from the folder of the example: `python -m local.mailbox --port 2525`.
"""

import argparse
import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import cast

from aiosmtpd.smtp import SMTP, Envelope, Session


async def _at_once(_: EmailMessage) -> None:
    return


@dataclass(frozen=True)
class Mailbox:
    """A folder of `.eml` files, one per Message-ID, as a mail server that knows its mails keeps it.

    `before_answer` runs between the delivery and the answer to the sender: the moment in which a
    sender's death leaves it not knowing that its mail has arrived.
    """

    folder: Path
    before_answer: Callable[[EmailMessage], Awaitable[None]] = _at_once
    received: list[str] = field(default_factory=list)
    """The Message-ID of everything that came in, repeated ones too."""

    def mails(self) -> list[EmailMessage]:
        """Return what was delivered, oldest first."""
        paths = sorted(self.folder.glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)
        return [_parse(path.read_bytes()) for path in paths]

    def empty(self) -> None:
        """Forget every mail."""
        for path in self.folder.glob("*.eml"):
            path.unlink()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Deliver one mail."""
        content = cast("bytes", envelope.content)
        message = _parse(content)
        message_id = str(message["Message-ID"] or hashlib.sha256(content).hexdigest())
        self.received.append(message_id)
        is_new = self._deliver(message_id, content)
        await self.before_answer(message)
        return "250 delivered" if is_new else "250 delivered before"

    def _deliver(self, message_id: str, content: bytes) -> bool:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{hashlib.sha256(message_id.encode()).hexdigest()[:32]}.eml"
        if path.exists():
            return False
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(content)
        unfinished.replace(path)
        return True


async def serve(mailbox: Mailbox, *, host: str = "127.0.0.1", port: int = 0) -> asyncio.Server:
    """Take mail on `port` (0: a free one) until the returned server is closed."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(
        lambda: SMTP(mailbox, hostname="localhost", loop=loop), host=host, port=port
    )


def port_of(server: asyncio.Server) -> int:
    """Return the port that a server listens on."""
    return int(server.sockets[0].getsockname()[1])


def _parse(content: bytes) -> EmailMessage:
    return message_from_bytes(content, policy=policy.default)


async def _main(port: int, folder: Path) -> None:
    server = await serve(Mailbox(folder), port=port)
    print(f"mailbox on smtp://127.0.0.1:{port_of(server)}, mails go to {folder}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=2525, help="0 picks a free one")
    parser.add_argument("--folder", type=Path, default=Path(".outlast/mail"))
    arguments = parser.parse_args()
    try:
        asyncio.run(_main(arguments.port, arguments.folder))
    except KeyboardInterrupt:
        print("mailbox stopped")
