"""The worker's end of the link: one WebSocket at a time to any of the servers, for one session.

The session outlives its sockets. After a reconnect everything that no server acknowledged is sent
again, in order. When no heartbeat was committed for too long, `run` raises `LeaseLostError`: then
somebody else may already execute the runs.
"""

import asyncio
import contextlib
import itertools
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from outlast.clock import boot_seconds
from outlast.protocol.frames import (
    HEARTBEAT_SECONDS,
    MAX_FRAME_BYTES,
    Frame,
    Kind,
    frame,
    pack,
    unpack,
)
from outlast.protocol.messages import Beat, Crash, Goodbye, Heartbeat, Held, Hello, Welcome
from outlast.protocol.triggers import Refusal
from outlast.protocol.vitals import Vitals
from outlast.worker.lease import Lease
from outlast.worker.outbox import Outbox

_Body = TypeVar("_Body", bound=msgspec.Struct)

PATH = "/api/outlast/v1/worker"

_OPEN = 5.0  # seconds for connecting, and for the welcome
_BATCH_BYTES = 1024 * 1024  # a message is cut here, so that heartbeats do not queue behind it
_MOST_DELAY = 5.0
_COMPANY_SECONDS = 0.002  # for which a start waits for other frames to travel with
_STABLE = 5.0  # a connection that lived so long was a good one
_STARTED, _SESSION = int(Kind.STARTED), int(Kind.HELLO)  # below hello: frames of runs
_UNAVAILABLE = 503
_LOST, _FINAL = (409, 410), (400, 401, 403, 404, 422, 426)
_UNAUTHORIZED = (401, 403)

logger = logging.getLogger("outlast.worker")


class RefusedError(Exception):
    """The server will not have this worker, and asking again will not change that."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.message} ({refusal.code})")
        self.refusal = refusal


class LeaseLostError(Exception):
    """The session is over: its runs belong to others now."""


class Peer(Protocol):
    """Whose link it is."""

    def hello(self) -> Hello:
        """Return the first frame of a socket."""

    def held(self) -> tuple[Held, ...]:
        """Return the runs held, executing or parked."""

    def digest(self, held: tuple[Held, ...]) -> str:
        """Return the digest of a list of runs."""

    def vitals(self) -> Vitals:
        """Return how the worker is, for people."""

    def welcomed(self, welcome: Welcome, server: str) -> None:
        """Take note that a server took the session in."""

    def receive(self, frames: Sequence[Frame]) -> None:
        """Take frames that concern runs."""

    def beat(self) -> None:
        """Take note that the lease is fresh."""

    def told(self, beat: Beat) -> None:
        """Take what comes with the answer to a heartbeat."""

    def disconnected(self, server: str, reason: str) -> None:
        """Take note that the socket is gone."""


class Link:
    """The connection of one session."""

    def __init__(
        self,
        *,
        urls: Sequence[str],
        secret_key: str,
        peer: Peer,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        self.aim(urls, secret_key)
        self._peer = peer
        self._clock = clock
        self._lease = Lease(clock)
        self._interval = HEARTBEAT_SECONDS
        self._queue: list[Frame] = []
        self._queued = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._crashes: dict[int, Frame] = {}  # numbered; until a later heartbeat is answered
        self._crashed = 0
        self._unheard: list[Frame] = []  # said since the hello, which said all before
        self._listed: str | None = None  # digest of the list that the server has
        self._closing = False
        self.outbox = Outbox()

    def aim(self, urls: Sequence[str], secret_key: str) -> None:
        """Say where the servers are."""
        self._urls = tuple(urls)
        self._headers = {"Authorization": f"Bearer {secret_key}"}

    # Sending

    def send(self, frames: Iterable[Frame]) -> None:
        """Send run frames; they are kept until acknowledged."""
        urgent = False
        for each in frames:
            self.outbox.add(each)
            if self._socket is not None:
                self._queue.append(each)
                urgent = urgent or each.kind != _STARTED
        if urgent:
            self._queued.set()
        elif self._queue and not self._queued.is_set():
            # Short runs end before anybody could act on their start: each message has a price.
            asyncio.get_running_loop().call_later(_COMPANY_SECONDS, self._queued.set)

    def tell(self, message: Frame) -> None:
        """Send a session frame once; of several said between hello and welcome the last."""
        self._unheard = [message]
        self._enqueue(message)

    def tell_crash(self, crash: Crash) -> None:
        """Report the death of an executor; repeated until a later heartbeat is answered."""
        message = frame(Kind.CRASH, crash)
        self._crashed += 1
        self._crashes[self._crashed] = message
        self._enqueue(message)

    def unconfirmed(self) -> Iterator[Held]:
        """Yield the runs of crashes that no server may have heard of: they still count as held."""
        for message in self._crashes.values():
            crash = msgspec.msgpack.decode(message.body, type=Crash)
            yield from (*crash.runs, *crash.parked)

    def _enqueue(self, message: Frame) -> None:
        if self._socket is not None:
            self._queue.append(message)
            self._queued.set()

    # The life of the link

    async def run(self) -> None:
        """Stay connected until closed. Raises `RefusedError` or `LeaseLostError`."""
        tasks = {
            asyncio.create_task(self._stay_connected(), name="link"),
            asyncio.create_task(self._watch_lease(), name="lease"),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def close(self, reason: str, *, patience: float = 2.0) -> None:
        """Wait until everything is acknowledged, say goodbye and let `run` return."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self.outbox.emptied()
        self._closing = True
        if self._socket is None:
            return
        farewell = pack([*self._queue, frame(Kind.GOODBYE, Goodbye(reason))])
        self._queue.clear()
        with contextlib.suppress(TimeoutError, WebSocketException, OSError):
            async with asyncio.timeout(patience):
                await self._socket.send(farewell)
                await self._socket.close()

    async def _watch_lease(self) -> None:
        while not self._closing:
            await asyncio.sleep(self._lease.seconds / 30)
            self._check_lease()
        await asyncio.Event().wait()

    def _check_lease(self) -> None:
        if self._lease.lost():
            raise LeaseLostError("no server confirmed a heartbeat in time")

    async def _stay_connected(self) -> None:
        failures = 0
        for url in itertools.cycle(self._urls):
            started = time.monotonic()
            try:
                reason = await self._converse(url)
                failures = 0
            except (OSError, TimeoutError, WebSocketException, msgspec.DecodeError) as error:
                reason = self._explain(error)
                # A server that takes us in and then falls over must not be asked without a pause.
                failures = 0 if time.monotonic() - started > _STABLE else failures + 1
            if self._closing:
                return
            self._peer.disconnected(url, reason)
            await asyncio.sleep(pause(failures))

    async def _converse(self, url: str) -> str:
        """Talk to one server until the socket ends; return why it did."""
        parts = urlsplit(url)
        loopback = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        async with connect(
            _websocket_url(url),
            additional_headers=self._headers,
            compression=None,
            max_size=MAX_FRAME_BYTES,
            open_timeout=_OPEN,
            close_timeout=0.5,
            ping_interval=None,
            proxy=None if loopback else True,
        ) as socket:
            frames = await self._introduce(socket, url)
            self._socket = socket
            self._queue = [*self._unheard, *self.outbox, *self._crashes.values()]
            self._queued.set()
            jobs = [
                asyncio.create_task(self._write(socket)),
                asyncio.create_task(self._beat(socket)),
            ]
            try:
                if self._take(frames):
                    return "the server says goodbye"
                async for message in socket:
                    if self._take(_frames(message)):
                        return "the server says goodbye"
                raise OSError("the server closed the connection")
            finally:
                self._socket = None
                self._queue.clear()
                for job in jobs:
                    job.cancel()
                await asyncio.gather(*jobs, return_exceptions=True)

    async def _introduce(self, socket: ClientConnection, url: str) -> list[Frame]:
        """Exchange hello and welcome; return the frames that came along."""
        self._check_lease()
        sent_at = self._clock()
        hello, self._unheard = self._peer.hello(), []
        await socket.send(pack([frame(Kind.HELLO, hello)]))
        async with asyncio.timeout(_OPEN):
            first, *rest = _frames(await socket.recv())
        if first.kind == Kind.REFUSED:
            self._refused(first)
            raise OSError(_read(first, Refusal).message)
        if first.kind != Kind.WELCOME:
            raise OSError(f"the server answered hello with a frame of kind {first.kind}")
        welcome = _read(first, Welcome)
        self._lease.seconds = welcome.lease
        self._lease.open(sent_at)
        self._interval = welcome.heartbeat
        self._listed = self._peer.digest(hello.held)
        self._peer.welcomed(welcome, url)
        self._peer.beat()
        return rest

    def _refused(self, message: Frame) -> None:
        """Judge a refusal: raise what ends the session or the worker, return for another try.

        What was good once is tried again: servers of two releases may take turns.
        """
        refusal = _read(message, Refusal)
        if refusal.status == _UNAVAILABLE:
            self._lease.excuse()
        elif refusal.status in _LOST:
            raise LeaseLostError(refusal.message)
        elif refusal.status in _FINAL and not self._lease.opened:
            raise RefusedError(refusal)

    def _take(self, frames: list[Frame]) -> bool:
        """Handle a message; True when the server sends us elsewhere."""
        self._check_lease()  # after a stop of this process nothing that lay in buffers counts
        ours: list[Frame] = []
        goodbye = False
        for each in frames:
            if each.kind < _SESSION:
                ours.append(each)
                continue
            match each.kind:
                case Kind.BEAT:
                    self._beaten(_read(each, Beat), each.number)
                case Kind.GOODBYE:
                    goodbye = True
                case Kind.REFUSED:
                    self._refused(each)
                    raise OSError(_read(each, Refusal).message)
                case _:
                    ours.append(each)
        if ours:
            self._peer.receive(ours)
        return goodbye

    def _beaten(self, beat: Beat, number: int) -> None:
        if beat.is_away:
            self._lease.excuse()
            return
        self._peer.told(beat)
        if beat.list_held:
            self._listed = None
        fresh, crashed = self._lease.answered(number)
        self._crashes = {each: told for each, told in self._crashes.items() if each > crashed}
        if fresh:
            self._peer.beat()

    async def _write(self, socket: ClientConnection) -> None:
        while True:
            await self._queued.wait()
            self._queued.clear()
            frames, self._queue = self._queue, []
            for batch in _batches(frames):
                await socket.send(pack(batch))

    async def _beat(self, socket: ClientConnection) -> None:
        while True:
            await asyncio.sleep(self._interval)
            if self._lease.silent():
                logger.warning("the server is silent; trying another")
                socket.transport.abort()
                return
            held = self._peer.held()
            digest = self._peer.digest(held)
            changed = digest != self._listed
            self._listed = digest
            number = self._lease.sent(self._crashed)
            heartbeat = Heartbeat(digest, held if changed else None, self._peer.vitals())
            self._enqueue(frame(Kind.HEARTBEAT, heartbeat, number=number))

    def _explain(self, error: Exception) -> str:
        """Return what went wrong; raise when it will not get better."""
        if isinstance(error, InvalidStatus):
            status = error.response.status_code
            if status in _UNAUTHORIZED and not self._lease.opened:
                raise RefusedError(
                    Refusal(status, "unauthorized", "the server does not accept the secret key")
                ) from error
            return f"the server answered {status}"
        return str(error) or type(error).__name__


def _websocket_url(url: str) -> str:
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + PATH, "", ""))


def _frames(message: str | bytes) -> list[Frame]:
    if isinstance(message, str):
        raise OSError("the server sent text; is this an Outlast server?")
    return unpack(message)


def _read(message: Frame, body: type[_Body]) -> _Body:
    return msgspec.msgpack.decode(message.body, type=body)


def _batches(frames: list[Frame]) -> Iterator[list[Frame]]:
    batch: list[Frame] = []
    size = 0
    for each in frames:
        if batch and size + len(each.body) > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += len(each.body) + 100
    if batch:
        yield batch


def pause(failures: int) -> float:
    """Return seconds until the next try: spread, so that workers do not come back in step."""
    most = min(_MOST_DELAY, 0.1 * 2.0 ** min(failures, 10))
    return random.uniform(0.5, 1.0) * most  # noqa: S311 - jitter, not a secret
