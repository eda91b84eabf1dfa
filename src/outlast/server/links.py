"""Worker links: one WebSocket each, frames in to the engine, frames out in batches.

Whatever arrives on a link can only hurt that link: garbage is answered with a typed REFUSED frame
and the socket is closed. A session outlives its link, so closing one loses no run.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from outlast.engine.errors import EngineError, Refused, Unavailable
from outlast.engine.gateway import Gateway
from outlast.engine.tenancy import Environment
from outlast.protocol.frames import MAX_FRAME_BYTES, PROTOCOL, Frame, Kind, frame, pack, unpack
from outlast.protocol.messages import Beat, Goodbye, Heartbeat, Hello
from outlast.protocol.triggers import Refusal

logger = logging.getLogger(__name__)

HELLO_SECONDS = 10.0
AWAY_SECONDS = 2.0
"""After this long without a commit the worker is told that the database is away."""
SEND_SECONDS = 15.0
"""A worker that takes nothing for this long is gone."""
MAX_WAITING_BYTES = 256 * 1024 * 1024
"""More than this waiting for one worker: the link is closed, the worker comes back for it."""

CLOSE_REFUSED = 4000
CLOSE_REPLACED = 4001
CLOSE_STOPPING = 1001
CLOSE_TOO_SLOW = 4002

_FRAME_OVERHEAD = 64
_SURELY_FITS = MAX_FRAME_BYTES // 4
_SPOKEN = frozenset({PROTOCOL, PROTOCOL - 1} - {0})
_hello = msgspec.msgpack.Decoder(Hello)
_heartbeat = msgspec.msgpack.Decoder(Heartbeat)


class LinkClosed(Exception):  # noqa: N818 - an end, not always an error
    """The link ends here, with this code; `refusal` is told to the worker before."""

    def __init__(self, code: int, refusal: Refusal | None = None) -> None:
        super().__init__(refusal.message if refusal else f"link closed with {code}")
        self.code = code
        self.refusal = refusal


class Links:
    """Every link of this server; of a session's links the newest is the one that counts."""

    def __init__(self, gateway: Gateway, *, api_url: str | None = None) -> None:
        self._gateway = gateway
        self._api_url = api_url
        self._by_session: dict[tuple[str, str], Link] = {}
        self._open: set[Link] = set()
        self._empty = asyncio.Event()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._open)

    async def serve(self, websocket: WebSocket, environment: Environment) -> None:
        """Run the link of an authenticated worker until it ends."""
        await websocket.accept()
        link = Link(websocket, environment, self._gateway, self)
        self._open.add(link)
        self._empty.clear()
        try:
            await link.run()
        finally:
            self._open.discard(link)
            if not self._open:
                self._empty.set()

    def stop(self) -> None:
        """Tell every worker to reconnect elsewhere; new ones are told at once."""
        self._stopping = True
        for link in self._open:
            link.say_goodbye()

    async def emptied(self, seconds: float) -> None:
        """Wait until every worker has left, but no longer than this."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._open:
                    await self._empty.wait()

    def api_url(self, websocket: WebSocket) -> str:
        """Return where the API is reached from outside: as configured, or as the worker does."""
        return self._api_url or str(websocket.base_url).replace("ws", "http", 1)

    @property
    def stopping(self) -> bool:
        """Whether workers are being sent away."""
        return self._stopping

    def enter(self, key: tuple[str, str], link: "Link") -> "Link | None":
        """Make a link its session's current one and return the one it replaces."""
        previous = self._by_session.get(key)
        self._by_session[key] = link
        return previous

    def leave(self, key: tuple[str, str], link: "Link", back: "Link | None" = None) -> bool:
        """Take a link out; returns whether it was its session's current one."""
        if self._by_session.get(key) is not link:
            return False
        if back is not None and back in self._open:
            self._by_session[key] = back
        else:
            del self._by_session[key]
        return True


class Link:
    """One socket: HELLO, then frames both ways until one side has enough."""

    def __init__(
        self, websocket: WebSocket, environment: Environment, gateway: Gateway, links: Links
    ) -> None:
        self._websocket = websocket
        self._environment = environment
        self._gateway = gateway
        self._links = links
        self._session = ""
        self._outbox: list[Frame] = []
        self._waiting_bytes = 0
        self._more = asyncio.Event()
        self._beat: Heartbeat | None = None
        self._beat_number = 0
        self._beat_due = asyncio.Event()
        self._closing: LinkClosed | None = None
        self._parted = False  # the worker was told, or said itself, that this link ends

    async def run(self) -> None:
        """Serve the link; returns when it is closed."""
        try:
            await self._open_session()
        except LinkClosed as end:
            await self._close(end)
            return
        except WebSocketDisconnect:
            return
        tasks = [
            asyncio.create_task(work(), name=f"link {self._session} {work.__name__}")
            for work in (self._receive, self._send, self._acknowledge)
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._end(next(iter(done)))

    def deliver(self, frames: list[Frame]) -> None:
        """Queue frames for the worker. Called by the engine, on the loop."""
        if self._closing is not None:
            return
        self._outbox += frames
        for item in frames:
            self._waiting_bytes += len(item.body) + _FRAME_OVERHEAD
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self.close(LinkClosed(CLOSE_TOO_SLOW))
        self._more.set()

    def say_goodbye(self) -> None:
        """Ask the worker to go to another server, taking its runs along."""
        self._parted = True
        self.deliver([frame(Kind.GOODBYE, Goodbye("this server stops; reconnect"))])

    def close(self, end: LinkClosed) -> None:
        """End the link from outside, after what is queued already."""
        self._closing = self._closing or end
        self._more.set()

    async def _open_session(self) -> None:
        hello = await self._read_hello()
        if self._links.stopping:
            await self._websocket.send_bytes(
                pack([frame(Kind.GOODBYE, Goodbye("this server stops; reconnect"))])
            )
            raise LinkClosed(CLOSE_STOPPING)
        self._session = hello.session
        key = (self._environment.id, hello.session)
        previous = self._links.enter(key, self)
        try:
            welcome = await self._gateway.open(
                self._environment,
                hello,
                self.deliver,
                api_url=self._links.api_url(self._websocket),
            )
        except BaseException as error:
            self._links.leave(key, self, back=previous)
            if isinstance(error, EngineError):
                raise _refused(error) from error
            raise
        if previous is not None:
            previous.close(LinkClosed(CLOSE_REPLACED))
        self._outbox.insert(0, frame(Kind.WELCOME, welcome))
        self._more.set()

    async def _read_hello(self) -> Hello:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                frames = await self._message()
        except TimeoutError:
            raise _garbage("no HELLO arrived in time") from None
        if len(frames) != 1 or frames[0].kind != Kind.HELLO:
            raise _garbage("the first message must be one HELLO frame")
        try:
            hello = _hello.decode(frames[0].body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise _garbage(f"the HELLO frame does not fit: {error}") from None
        if hello.protocol not in _SPOKEN:
            newer = "server" if hello.protocol > PROTOCOL else "worker"
            raise LinkClosed(
                CLOSE_REFUSED,
                Refusal(
                    426,
                    "protocol_version",
                    f"the worker speaks version {hello.protocol} of the link, this server "
                    f"{PROTOCOL}; upgrade the {newer}",
                ),
            )
        return hello

    async def _receive(self) -> None:
        while True:
            frames = await self._message()
            work: list[Frame] = []
            for item in frames:
                if item.kind == Kind.HEARTBEAT:
                    self._beat = _decode(_heartbeat, item)
                    self._beat_number = item.number
                    self._beat_due.set()
                elif item.kind == Kind.GOODBYE:
                    self._pass_on(work)
                    await self._gateway.close(self._session, goodbye=True)
                    self._parted = True
                    raise LinkClosed(1000)
                elif item.kind < Kind.CLAIM or item.kind in {Kind.CRASH, Kind.CAPACITY}:
                    work.append(item)
                else:
                    raise _garbage(f"a worker does not send frames of kind {item.kind}")
            self._pass_on(work)

    def _pass_on(self, work: list[Frame]) -> None:
        if not work:
            return
        try:
            self._gateway.receive(self._session, work)
        except (msgspec.DecodeError, RecursionError) as error:
            raise _garbage(f"a frame does not fit: {error}") from None
        except EngineError as error:
            raise _refused(error) from error

    async def _message(self) -> list[Frame]:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        data = message.get("bytes")
        if data is None:
            raise _garbage("messages are binary")
        try:
            return unpack(data)
        except (msgspec.DecodeError, RecursionError):
            raise _garbage("the message is no list of frames") from None

    async def _acknowledge(self) -> None:
        """Commit heartbeats one at a time; of those that gather only the newest counts."""
        while True:
            await self._beat_due.wait()
            self._beat_due.clear()
            beat, number = self._beat, self._beat_number
            assert beat is not None
            try:
                async with asyncio.timeout(AWAY_SECONDS):
                    answer = await self._gateway.heartbeat(self._session, beat)
            except (Unavailable, TimeoutError):
                logger.warning("heartbeat not committed", extra={"session": self._session})
                answer = Beat(is_away=True)
            except EngineError as error:
                raise _refused(error) from error
            self.deliver([frame(Kind.BEAT, answer, number=number)])

    async def _send(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            frames, self._outbox = self._outbox, []
            size, self._waiting_bytes = self._waiting_bytes, 0
            for batch in [frames] if frames and size < _SURELY_FITS else split(frames):
                async with asyncio.timeout(SEND_SECONDS):
                    await self._websocket.send_bytes(pack(batch))
            if self._closing is not None and not self._outbox:
                raise self._closing

    async def _end(self, task: asyncio.Task[None]) -> None:
        error = task.exception() if not task.cancelled() else None
        if isinstance(error, LinkClosed):
            await self._close(error)
        elif isinstance(error, TimeoutError):
            await self._close(LinkClosed(CLOSE_TOO_SLOW))
        elif error is not None and not isinstance(error, WebSocketDisconnect):
            logger.error("worker link failed", exc_info=error, extra={"session": self._session})
            await self._close(LinkClosed(1011))
        current = self._links.leave((self._environment.id, self._session), self)
        if current and not self._parted:
            await self._lose_session()

    async def _lose_session(self) -> None:
        try:
            await self._gateway.close(self._session, goodbye=False)
        except EngineError:
            # Its lease runs out by itself.
            logger.warning("closing a session failed", extra={"session": self._session})

    async def _close(self, end: LinkClosed) -> None:
        self._closing = end
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError, OSError):
            async with asyncio.timeout(SEND_SECONDS):
                if end.refusal is not None:
                    await self._websocket.send_bytes(pack([frame(Kind.REFUSED, end.refusal)]))
                await self._websocket.close(end.code)


def split(frames: list[Frame]) -> Iterator[list[Frame]]:
    """Cut frames into messages that the other side accepts; a frame too large for any is left out.

    The engine keeps values small enough; one that slips through must not end the link over and
    over.
    """
    batch: list[Frame] = []
    size = _FRAME_OVERHEAD
    for item in frames:
        length = _size(item)
        if length + _FRAME_OVERHEAD > MAX_FRAME_BYTES:
            logger.error("frame too large", extra={"run_id": item.run, "kind": item.kind})
            continue
        if size + length > MAX_FRAME_BYTES:
            yield batch
            batch, size = [], _FRAME_OVERHEAD
        batch.append(item)
        size += length
    if batch:
        yield batch


def _size(item: Frame) -> int:
    return len(item.body) + len(item.run) + _FRAME_OVERHEAD


def _decode(decoder: "msgspec.msgpack.Decoder[Heartbeat]", item: Frame) -> Heartbeat:
    try:
        return decoder.decode(item.body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _garbage(f"a frame of kind {item.kind} does not fit: {error}") from None


def _garbage(why: str) -> LinkClosed:
    return LinkClosed(CLOSE_REFUSED, Refusal(400, "bad_frame", why))


def _refused(error: EngineError) -> LinkClosed:
    """Return how the link ends over an error of the engine."""
    match error:
        case Refused():
            refusal = error.refusal
        case Unavailable():
            refusal = Refusal(503, error.code, "the database is not available")
        case _:
            refusal = Refusal(422, error.code, str(error))
    return LinkClosed(CLOSE_REFUSED, refusal)
