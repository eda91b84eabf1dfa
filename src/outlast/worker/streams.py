"""What a run appends to streams: in order, each chunk once per attempt, however fast they come.

One frame is on its way at a time and takes everything that gathered meanwhile, so that the first
chunk leaves at once and a fast writer fills frames.
"""

import asyncio
import secrets
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Final

import msgspec

from outlast.protocol.frames import Kind
from outlast.protocol.streams import Append, Appended, Chunk
from outlast.worker.lines import cut
from outlast.worker.scopes import Scope
from outlast.worker.sending import Sending

MOST_BYTES: Final = 1024 * 1024
"""Characters of one frame."""
MOST_CHUNKS: Final = 1_000

_appended = msgspec.msgpack.Decoder(Appended)


class Streams:
    """The chunks of one run. Appended from any thread; the rest on the executor's loop."""

    def __init__(
        self,
        recorded: dict[str, int],
        sending: Sending,
        *,
        loop: asyncio.AbstractEventLoop,
        complain: Callable[[str], None],
    ) -> None:
        self._recorded = recorded
        self._sending = sending
        self._loop = loop
        self._complain = complain
        self._lock = threading.Lock()
        self._gathered: list[Chunk] = []
        self._writers: dict[str, Scope] = {}
        self._foreign = secrets.token_hex(6)
        """Stands for code that has no scope: a thread, a callback."""
        self._unstored = 0
        self._on_their_way = 0
        self._due = False
        self._room: list[asyncio.Future[None]] = []
        self._complained: set[str] = set()

    def append(
        self, scope: Scope | None, key: str, data: str, *, target: str, writer: str | None
    ) -> None:
        """Take a chunk, unless the one at this place was appended before.

        What a `writer` appends has places of its own, which no replay repeats.
        """
        with self._lock:
            if scope is None or writer is not None:
                name = writer or self._foreign
                scope = self._writers.setdefault(name, Scope(f"!{name}"))
            scope.chunks += 1
            place = cut(scope.path)
            if scope.chunks <= self._recorded.get(place, 0):
                return
            self._gathered.append(Chunk(place, scope.chunks, key, data, target))
            self._unstored += len(data)
            if self._due:
                return
            self._due = True
        self._loop.call_soon_threadsafe(self._send, context=Context())

    async def stored(self, most: int = 0) -> None:
        """Return when no more than so many characters of chunks are not stored yet."""
        while self._unstored > most:
            room: asyncio.Future[None] = self._loop.create_future()
            self._room.append(room)
            await room

    def flush(self) -> None:
        """Queue what has gathered, before whatever the run says next."""
        while self._gathered:
            self._put()

    def _send(self) -> None:
        self._due = False
        if self._gathered and not self._on_their_way and self._sending.open:
            self._put()
            self._sending.flush()

    def _put(self) -> None:
        with self._lock:
            count = size = 0
            for chunk in self._gathered[:MOST_CHUNKS]:
                if count and size + len(chunk.data) > MOST_BYTES:
                    break
                count += 1
                size += len(chunk.data)
            chunks, self._gathered = self._gathered[:count], self._gathered[count:]
        self._on_their_way += 1
        self._sending.put(Kind.APPEND, Append(tuple(chunks)), lambda raw: self._stored(size, raw))

    def _stored(self, size: int, raw: msgspec.Raw) -> None:
        self._on_their_way -= 1
        with self._lock:
            self._unstored -= size
        for problem in _appended.decode(raw).problems:
            if problem not in self._complained:
                self._complained.add(problem)
                self._complain(f"what was appended is left out: {problem}")
        room, self._room = self._room, []
        for waiting in room:
            if not waiting.done():
                waiting.set_result(None)
        self._send()
