"""What alerts are sent to in tests: a web server and a mail server on this machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar


@dataclass
class Posted:
    """One request that a web server received."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Web:
    """A web server that keeps what is posted and answers `status`; None: nothing at all."""

    port: int = 0
    status: int | None = 200
    posted: list[Posted] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])
        }
        body = await reader.readexactly(int(headers["content-length"]))
        self.posted.append(Posted(head[0].split(" ")[1], headers, body))
        if self.status is None:
            await reader.read()  # until the other side gives up
        else:
            moved = "location: /elsewhere\r\n"
            writer.write(f"HTTP/1.1 {self.status} x\r\n{moved}content-length: 0\r\n\r\n".encode())
        writer.close()


@dataclass
class Mail:
    """A mail server that keeps what it takes; it refuses recipients of `refused`."""

    port: int = 0
    refused: str = ""
    letters: list[str] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        while line := (await reader.readline()).decode().strip():
            verb = line.partition(" ")[0].upper()
            if verb == "DATA":
                writer.write(b"354 go on\r\n")
                letter = await reader.readuntil(b"\r\n.\r\n")
                self.letters.append(letter.decode())
                writer.write(b"250 taken\r\n")
            elif verb == "RCPT" and self.refused and self.refused in line:
                writer.write(b"550 nobody here\r\n")
            else:
                if verb == "RCPT":
                    self.recipients.append(line.partition(":")[2])
                writer.write(b"221 bye\r\n" if verb == "QUIT" else b"250 ok\r\n")
        writer.close()


ServerT = TypeVar("ServerT", Web, Mail)


def web() -> AbstractAsyncContextManager[Web]:
    """Give a web server."""
    return _listening(Web())


def mail() -> AbstractAsyncContextManager[Mail]:
    """Give a mail server."""
    return _listening(Mail())


@asynccontextmanager
async def _listening(found: ServerT) -> AsyncIterator[ServerT]:
    async with await asyncio.start_server(found.serve, "127.0.0.1", 0) as server:
        found.port = server.sockets[0].getsockname()[1]
        yield found
