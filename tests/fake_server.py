"""A scripted server for worker tests: the real link, no engine behind it."""

import asyncio
import contextlib
from http import HTTPStatus
from typing import Self

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from outlast.protocol.frames import MAX_FRAME_BYTES, Frame, Kind, frame, pack, unpack
from outlast.protocol.messages import (
    Beat,
    Claim,
    Empty,
    Facts,
    Heartbeat,
    Hello,
    Step,
    Stepped,
    Suspended,
    Welcome,
)
from outlast.protocol.triggers import Refusal
from outlast.protocol.variables import VariableValues
from polling import until


class FakeServer:
    """Welcomes workers, answers heartbeats and frames, and records what it hears."""

    def __init__(self, *, heartbeat: float = 0.05, lease: float = 30.0) -> None:
        self.heartbeat = heartbeat
        self.lease = lease
        self.beats = True
        self.acknowledges = True
        self.holds_suspends = True
        self.refusal: Refusal | None = None
        self.opens = asyncio.Event()
        """Until it is set no hello is answered."""
        self.opens.set()
        self.turns_away: HTTPStatus | None = None
        self.variables: dict[str, str] | None = {}
        """None: a server of a release that knows none."""
        self.revision = 0
        self.hellos: list[Hello] = []
        self.heartbeats: list[Heartbeat] = []
        self.frames: list[Frame] = []
        self.sockets: list[ServerConnection] = []
        self.headers: list[dict[str, str]] = []
        self._server: Server | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        self._server = await serve(
            self._talk,
            "127.0.0.1",
            self._port,
            process_request=self._admit,
            compression=None,
            ping_interval=None,
            max_size=MAX_FRAME_BYTES,
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        for socket in self.sockets:
            socket.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    def store(self, **variables: str) -> None:
        """Change the variables of the environment."""
        self.variables = variables
        self.revision += 1

    async def push(self, *frames: Frame) -> None:
        """Send frames on the newest socket."""
        await self.sockets[-1].send(pack(list(frames)))

    def said(self, kind: Kind, run: str | None = None) -> list[Frame]:
        """Return what workers said of a kind."""
        return [each for each in self.frames if each.kind == kind and run in (None, each.run)]

    async def heard(self, kind: Kind, run: str | None = None, *, count: int = 1) -> Frame:
        """Wait for the `count`-th frame of a kind and return it."""
        await until(lambda: len(self.said(kind, run)) >= count, what=f"{count} x {kind.name}")
        return self.said(kind, run)[count - 1]

    async def connected(self, count: int = 1) -> Hello:
        """Wait for the `count`-th hello and return it."""
        await until(lambda: len(self.hellos) >= count, what=f"{count} hellos")
        return self.hellos[count - 1]

    def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        if self.turns_away:
            return socket.respond(self.turns_away, "no\n")
        if request.path == "/api/outlast/v1/variables":
            if self.variables is None:
                return socket.respond(HTTPStatus.NOT_FOUND, "no\n")
            body = VariableValues(revision=self.revision, variables=self.variables)
            return socket.respond(HTTPStatus.OK, body.to_json().decode())
        return None

    async def _talk(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.headers.append(
            {"path": socket.request.path, **dict(socket.request.headers.raw_items())}
        )
        with contextlib.suppress(ConnectionClosed):
            async for message in socket:
                assert isinstance(message, bytes)
                for each in unpack(message):
                    if each.kind == Kind.HELLO and self.refusal is None:
                        self.hellos.append(msgspec.msgpack.decode(each.body, type=Hello))
                        await self.opens.wait()
                    answer = self._answer(each, socket)
                    if answer is not None:
                        await socket.send(pack([answer]))

    def _answer(self, each: Frame, socket: ServerConnection) -> Frame | None:
        match each.kind:
            case Kind.HELLO:
                if self.refusal is not None:
                    return frame(Kind.REFUSED, self.refusal)
                self.sockets.append(socket)
                return frame(Kind.WELCOME, self._welcome())
            case Kind.HEARTBEAT:
                self.heartbeats.append(msgspec.msgpack.decode(each.body, type=Heartbeat))
                beat = Beat(variables=self.revision)
                return frame(Kind.BEAT, beat, number=each.number) if self.beats else None
            case kind:
                self.frames.append(each)
                if kind >= Kind.CLAIM or not self.acknowledges:
                    return None
                return self._acknowledge(each)

    def _acknowledge(self, each: Frame) -> Frame:
        body: msgspec.Struct = Empty()
        if each.kind == Kind.SUSPEND:
            body = Suspended(self.holds_suspends)
        elif each.kind == Kind.STEP:
            body = Stepped(msgspec.msgpack.decode(each.body, type=Step).outcome)
        return frame(Kind.ACK, body, run=each.run, token=each.token, number=each.number)

    def _welcome(self) -> Welcome:
        return Welcome(
            server="fake",
            environment="env_1",
            environment_slug="dev",
            project="proj_1",
            version="20260101.1",
            heartbeat=self.heartbeat,
            lease=self.lease,
        )


def claim(
    run: str,
    task: str,
    token: int = 1,
    *,
    resume: str = "fresh",
    executor: str = "shared",
    machine: str | None = None,
) -> Frame:
    """Return a claim for a run of a task."""
    facts = Facts(
        run_id=run,
        task=task,
        attempt=1,
        max_attempts=3,
        queue=f"task/{task}",
        created_at=0.0,
        started_at=0.0,
        environment="env_1",
        environment_slug="dev",
        project="proj_1",
        version="20260101.1",
        machine=machine,
    )
    body = msgspec.convert({"resume": resume, "facts": facts, "executor": executor}, Claim)
    return frame(Kind.CLAIM, body, run=run, token=token)
