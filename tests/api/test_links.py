"""The worker link: a session opens, frames pass both ways, garbage hurts only who sends it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import msgspec
import pytest
import websockets
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection

from outlast.engine.errors import Refused, Unavailable
from outlast.engine.gateway import Gateway
from outlast.engine.tenancy import Environment
from outlast.protocol.frames import MAX_FRAME_BYTES, PROTOCOL, Frame, Kind, frame, pack, unpack
from outlast.protocol.manifests import Manifest
from outlast.protocol.messages import Beat, Empty, Goodbye, Heartbeat, Held, Hello, Welcome
from outlast.protocol.triggers import Refusal
from outlast.server import links as links_module
from outlast.server.links import CLOSE_REFUSED, CLOSE_REPLACED, Links, split
from outlast.server.listening import bind, listening
from outlast.server.settings import ServerSettings

Deliver = Callable[[list[Frame]], None]


class FakeGateway:
    """A gateway that remembers what it was told."""

    def __init__(self) -> None:
        self.sessions: dict[str, Deliver] = {}
        self.received: list[tuple[str, Frame]] = []
        self.beats: list[Heartbeat] = []
        self.closed: list[tuple[str, bool]] = []
        self.changed = asyncio.Condition()
        self.refusal: Refusal | None = None
        self.away = False

    async def open(
        self, environment: Environment, hello: Hello, deliver: Deliver, *, api_url: str
    ) -> Welcome:
        if self.refusal is not None:
            raise Refused(self.refusal)
        # Claims may come before the caller has its answer; WELCOME must still be the first frame.
        deliver([frame(Kind.CANCEL, Empty(), run="run_early")])
        self.sessions[hello.session] = deliver
        return Welcome(
            server="s", environment="env_1", environment_slug="dev", project="p", version="v1"
        )

    def receive(self, session_id: str, frames: list[Frame]) -> None:
        for item in frames:
            if item.run == "run_bad":
                msgspec.msgpack.decode(b"\xc1")
            self.received.append((session_id, item))
        self._tell()

    async def heartbeat(self, session_id: str, beat: Heartbeat) -> Beat:
        if self.away:
            raise Unavailable("away")
        self.beats.append(beat)
        return Beat(list_held=True)

    async def close(self, session_id: str, *, goodbye: bool) -> None:
        self.closed.append((session_id, goodbye))
        self._tell()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5), self.changed:
            await self.changed.wait_for(holds)

    def _tell(self) -> None:
        async def tell() -> None:
            async with self.changed:
                self.changed.notify_all()

        self._telling = asyncio.get_running_loop().create_task(tell())


class Server:
    """A real server with nothing but links."""

    def __init__(self, url: str, engine: FakeGateway, links: Links) -> None:
        self.url = url
        self.engine = engine
        self.links = links

    def connect(self, **options: Any) -> contextlib.AbstractAsyncContextManager[ClientConnection]:
        return websockets.connect(self.url, max_size=MAX_FRAME_BYTES, compression=None, **options)

    @contextlib.asynccontextmanager
    async def session(self, name: str = "session_1") -> AsyncIterator[ClientConnection]:
        async with self.connect() as socket:
            await socket.send(hello(name))
            assert [item.kind for item in await receive(socket)] == [Kind.WELCOME, Kind.CANCEL]
            yield socket


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    engine = FakeGateway()
    links = Links(cast(Gateway, engine))

    async def worker(websocket: WebSocket) -> None:
        await links.serve(websocket, cast(Environment, FakeEnvironment()))

    app = Starlette(routes=[WebSocketRoute("/worker", worker)])
    settings = ServerSettings(database_url="", encryption_keys=(), port=0)
    async with listening(app, bind(settings)) as bound:
        yield Server(bound.url.replace("http", "ws") + "/worker", engine, links)


class FakeEnvironment:
    id = "env_1"


def hello(session: str = "session_1", protocol: int = PROTOCOL) -> bytes:
    body = Hello(
        protocol=protocol,
        session=session,
        name="w",
        host="h",
        pid=1,
        manifest=Manifest(digest="d", tasks=(), queues=(), runtime="python", sdk="0"),
        capacity={"shared": 1},
    )
    return pack([frame(Kind.HELLO, body)])


async def receive(socket: ClientConnection) -> list[Frame]:
    async with asyncio.timeout(5):
        message = await socket.recv()
    assert isinstance(message, bytes)
    return unpack(message)


async def refusal(socket: ClientConnection) -> Refusal:
    """Return the refusal that ends a link."""
    [refused] = await receive(socket)
    assert refused.kind == Kind.REFUSED
    with pytest.raises(websockets.ConnectionClosed):
        await socket.recv()
    assert socket.close_code == CLOSE_REFUSED
    return msgspec.msgpack.decode(refused.body, type=Refusal)


async def test_welcome_comes_before_anything_the_engine_has_to_say(server: Server) -> None:
    async with server.connect() as socket:
        await socket.send(hello())

        kinds = [item.kind for item in await receive(socket)]

    assert kinds == [Kind.WELCOME, Kind.CANCEL]


async def test_frames_pass_both_ways(server: Server) -> None:
    async with server.session() as socket:
        await socket.send(pack([frame(Kind.STARTED, Empty(), run="run_1", token=1, number=1)]))
        await server.engine.until(lambda: len(server.engine.received) == 1)
        server.engine.sessions["session_1"]([frame(Kind.DROP, Empty(), run="run_1", token=1)])

        answer = await receive(socket)

    assert server.engine.received[0][0] == "session_1"
    assert [item.kind for item in answer] == [Kind.DROP]


async def test_frames_that_gather_travel_together(server: Server) -> None:
    async with server.session() as socket:
        deliver = server.engine.sessions["session_1"]
        for _ in range(100):
            deliver([frame(Kind.ACK, Empty(), run="run_1")])

        assert len(await receive(socket)) == 100


async def test_a_heartbeat_is_answered_after_its_commit(server: Server) -> None:
    async with server.session() as socket:
        await socket.send(pack([frame(Kind.HEARTBEAT, Heartbeat("d", (Held("run_1", 1),)))]))

        [beat] = await receive(socket)

    assert beat.kind == Kind.BEAT
    assert msgspec.msgpack.decode(beat.body, type=Beat).list_held
    assert server.engine.beats == [Heartbeat("d", (Held("run_1", 1),))]


async def test_without_a_database_a_heartbeat_is_not_answered_and_the_link_stays(
    server: Server,
) -> None:
    async with server.session() as socket:
        server.engine.away = True
        await socket.send(pack([frame(Kind.HEARTBEAT, Heartbeat("1"))]))
        await socket.send(pack([frame(Kind.STARTED, Empty(), run="run_1")]))
        await server.engine.until(lambda: len(server.engine.received) == 1)
        server.engine.away = False
        await socket.send(pack([frame(Kind.HEARTBEAT, Heartbeat("2"))]))

        [beat] = await receive(socket)

    assert beat.kind == Kind.BEAT


async def test_a_socket_that_closes_loses_its_session_without_goodbye(server: Server) -> None:
    async with server.session():
        pass

    await server.engine.until(lambda: server.engine.closed == [("session_1", False)])


async def test_goodbye_ends_the_session_once(server: Server) -> None:
    async with server.session() as socket:
        await socket.send(pack([frame(Kind.GOODBYE, Goodbye())]))
        with pytest.raises(websockets.ConnectionClosedOK):
            await socket.recv()

    await server.links.emptied(5)
    assert server.engine.closed == [("session_1", True)]


async def test_a_session_that_comes_back_keeps_its_new_link(server: Server) -> None:
    async with server.session() as old, server.session() as new:
        with pytest.raises(websockets.ConnectionClosed):
            await old.recv()
        assert old.close_code == CLOSE_REPLACED
        server.engine.sessions["session_1"]([frame(Kind.DROP, Empty(), run="run_1")])
        assert [item.kind for item in await receive(new)] == [Kind.DROP]
        assert server.engine.closed == []


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"garbage",
        b"\x91" * 5000,
        pack([]),
        pack([frame(Kind.HEARTBEAT, Heartbeat("d"))]),
        pack([frame(Kind.HELLO, Empty())]),
        "text",
    ],
)
async def test_garbage_instead_of_hello_is_refused_by_name(
    server: Server, message: bytes | str
) -> None:
    async with server.connect() as socket:
        await socket.send(message)

        assert (await refusal(socket)).code == "bad_frame"

    assert server.engine.sessions == {}


@pytest.mark.parametrize(
    "message",
    [
        b"garbage",
        pack([frame(Kind.HEARTBEAT, Empty())]),
        pack([frame(Kind.CLAIM, Empty())]),
        pack([Frame(999, "", 0, 0, msgspec.Raw(b"\xc0"))]),
        pack([frame(Kind.STEP, Empty(), run="run_bad")]),
    ],
)
async def test_garbage_on_one_link_disturbs_no_other(server: Server, message: bytes) -> None:
    async with server.session("good") as good, server.session("bad") as bad:
        await bad.send(message)

        assert (await refusal(bad)).code == "bad_frame"
        await server.engine.until(lambda: server.engine.closed == [("bad", False)])
        await good.send(pack([frame(Kind.HEARTBEAT, Heartbeat("d"))]))
        assert (await receive(good))[0].kind == Kind.BEAT


async def test_a_message_over_the_limit_closes_the_link(server: Server) -> None:
    async with server.connect() as socket:
        with contextlib.suppress(websockets.ConnectionClosed):
            await socket.send(b"x" * (MAX_FRAME_BYTES + 1))
        with pytest.raises(websockets.ConnectionClosed):
            await socket.recv()

    assert socket.close_code == 1009


@pytest.mark.parametrize("protocol", [PROTOCOL - 2, PROTOCOL + 1])
async def test_a_foreign_protocol_is_refused_with_the_fix(server: Server, protocol: int) -> None:
    async with server.connect() as socket:
        await socket.send(hello(protocol=protocol))

        refused = await refusal(socket)

    assert refused.code == "protocol_version"
    assert "upgrade the" in refused.message


async def test_the_engines_refusal_reaches_the_worker(server: Server) -> None:
    server.engine.refusal = Refusal(403, "session_taken", "the session is another environment's")

    async with server.connect() as socket:
        await socket.send(hello())

        assert await refusal(socket) == server.engine.refusal

    assert server.engine.closed == []


async def test_a_worker_that_says_nothing_is_sent_away(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links_module, "HELLO_SECONDS", 0.05)

    async with server.connect() as socket:
        assert (await refusal(socket)).code == "bad_frame"


async def test_a_stopping_server_says_goodbye_and_loses_no_session(server: Server) -> None:
    async with server.session() as socket:
        server.links.stop()
        [goodbye] = await receive(socket)
        assert goodbye.kind == Kind.GOODBYE

    await server.links.emptied(5)
    assert len(server.links) == 0
    assert server.engine.closed == []


async def test_a_stopping_server_takes_no_new_session(server: Server) -> None:
    server.links.stop()

    async with server.connect() as socket:
        await socket.send(hello())
        [goodbye] = await receive(socket)

    assert goodbye.kind == Kind.GOODBYE
    assert server.engine.sessions == {}


def test_a_batch_is_split_below_the_message_limit() -> None:
    third = frame(Kind.ACK, Goodbye("x" * (MAX_FRAME_BYTES // 3)))

    batches = list(split([third] * 5))

    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert all(len(pack(batch)) <= MAX_FRAME_BYTES for batch in batches)


def test_a_frame_that_fits_no_message_is_left_out() -> None:
    huge = frame(Kind.ACK, Goodbye("x" * MAX_FRAME_BYTES))
    small = frame(Kind.ACK, Goodbye("x"))

    assert list(split([huge, small])) == [[small]]
