"""The link keeps a session alive over sockets and servers that come and go."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus

import pytest

from fake_server import FakeServer, claim
from outlast.clock import boot_seconds
from outlast.protocol.frames import PROTOCOL, Frame, Kind, frame
from outlast.protocol.manifests import Manifest
from outlast.protocol.messages import (
    Beat,
    Complete,
    Crash,
    Held,
    Hello,
    Welcome,
    held_digest,
)
from outlast.protocol.outcomes import RunError
from outlast.protocol.triggers import Refusal
from outlast.protocol.vitals import Vitals
from outlast.worker.lease import Lease
from outlast.worker.link import LeaseLostError, Link, RefusedError
from polling import until

ERROR = RunError("crashed", "ProcessDied", "gone")


class Clock:
    """The clock of a machine that can be put to sleep."""

    def __init__(self) -> None:
        self.slept = 0.0

    def __call__(self) -> float:
        return boot_seconds() + self.slept


class Node:
    """A peer that only takes notes."""

    def __init__(self, *servers: FakeServer) -> None:
        self.clock = Clock()
        self.beats = 0
        self.frames: list[Frame] = []
        self.reasons: list[str] = []
        self.holding: tuple[Held, ...] = ()
        self.link = Link(
            urls=[server.url for server in servers],
            secret_key="tr_dev_key",
            peer=self,
            clock=self.clock,
        )

    def hello(self) -> Hello:
        return Hello(
            protocol=PROTOCOL,
            session="session_1",
            name="test",
            host="here",
            pid=1,
            manifest=Manifest(digest="d", tasks=(), queues=(), runtime="", sdk=""),
            capacity={"shared": 1},
            held=self.held(),
        )

    def held(self) -> tuple[Held, ...]:
        return (*self.holding, *self.link.unconfirmed())

    def digest(self, held: tuple[Held, ...]) -> str:
        return held_digest(held)

    def vitals(self) -> Vitals:
        return Vitals()

    def welcomed(self, welcome: Welcome, server: str) -> None: ...

    def told(self, beat: Beat) -> None: ...

    def receive(self, frames: Sequence[Frame]) -> None:
        self.frames += frames
        for each in frames:
            if each.kind == Kind.ACK:
                self.link.outbox.acknowledge(each.run, each.token, each.number)

    def beat(self) -> None:
        self.beats += 1

    def disconnected(self, server: str, reason: str) -> None:
        self.reasons.append(reason)


@contextlib.asynccontextmanager
async def connected(node: Node) -> AsyncIterator["asyncio.Task[None]"]:
    job = asyncio.create_task(node.link.run())
    try:
        await until(lambda: node.beats or job.done())
        yield job
    finally:
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer() as server:
        yield server


async def test_introduces_itself_as_the_gateway_wants_it(server: FakeServer) -> None:
    async with connected(Node(server)):
        (headers,) = server.headers

    assert headers["path"] == "/api/outlast/v1/worker"
    assert headers["Authorization"] == "Bearer tr_dev_key"
    assert "Origin" not in headers
    assert "Sec-WebSocket-Extensions" not in headers


async def test_much_at_once_is_cut_into_messages(server: FakeServer) -> None:
    node = Node(server)
    async with connected(node):
        output = Complete("x" * 1_000_000)
        node.link.send(
            frame(Kind.COMPLETE, output, run="a", token=1, number=number) for number in range(1, 31)
        )
        await server.heard(Kind.COMPLETE, count=30)
        await node.link.outbox.emptied()

    assert [each.number for each in server.frames] == list(range(1, 31))


async def test_frames_said_without_a_server_are_sent_when_there_is_one() -> None:
    server = FakeServer()
    await server.start()
    await server.stop()
    node = Node(server)
    job = asyncio.create_task(node.link.run())
    await until(lambda: node.reasons)
    node.link.send([frame(Kind.COMPLETE, Complete(), run="a", token=1, number=1)])

    async with server:
        await server.heard(Kind.COMPLETE)
        job.cancel()


async def test_a_crash_counts_as_held_until_a_later_heartbeat_is_answered(
    server: FakeServer,
) -> None:
    node = Node(server)
    async with connected(node):
        server.beats = False
        await until(lambda: server.heartbeats)
        node.link.tell_crash(Crash((Held("a", 1),), "a", ERROR))
        await server.heard(Kind.CRASH)
        server.sockets[-1].transport.abort()

        hello = await server.connected(2)
        await server.heard(Kind.CRASH, count=2)
        assert hello.held == (Held("a", 1),)
        server.beats = True
        await until(lambda: node.held() == ())
        server.sockets[-1].transport.abort()
        await server.connected(3)
        await until(lambda: len(server.heartbeats) > 3)

    assert len(server.said(Kind.CRASH)) == 2


async def test_a_silent_server_is_left_for_another() -> None:
    async with FakeServer(lease=1.0) as silent, FakeServer(lease=1.0) as other:
        silent.beats = False
        node = Node(silent, other)
        async with connected(node):
            hello = await other.connected()
            await until(lambda: len(other.heartbeats) > 2)

    assert hello.session == "session_1"


async def test_what_arrives_after_the_lease_is_lost_reaches_nobody(server: FakeServer) -> None:
    node = Node(server)
    async with connected(node) as job:
        node.clock.slept = 25.0  # of a lease of 30
        await server.push(claim("run_1", "quick"), frame(Kind.BEAT, Beat()))

        with pytest.raises(LeaseLostError):
            await job

    assert node.frames == []


async def test_the_list_of_runs_is_sent_when_the_server_asks(server: FakeServer) -> None:
    node = Node(server)
    node.holding = (Held("a", 1),)
    async with connected(node):
        await until(lambda: len(server.heartbeats) >= 2)
        assert server.heartbeats[-1].held is None
        server.beats = False
        await server.push(frame(Kind.BEAT, Beat(list_held=True)))

        await until(lambda: server.heartbeats[-1].held == (Held("a", 1),))


async def test_a_wrong_key_is_final(server: FakeServer) -> None:
    server.turns_away = HTTPStatus.UNAUTHORIZED

    with pytest.raises(RefusedError, match="secret key"):
        await Node(server).link.run()


async def test_a_key_that_stops_working_later_is_tried_again(server: FakeServer) -> None:
    node = Node(server)
    async with connected(node):
        server.turns_away = HTTPStatus.UNAUTHORIZED
        server.sockets[-1].transport.abort()
        await until(lambda: any("401" in reason for reason in node.reasons))
        server.turns_away = None

        await server.connected(2)


async def test_a_session_that_the_server_gave_up_is_over(server: FakeServer) -> None:
    server.refusal = Refusal(409, "session_lost", "the session is over")

    with pytest.raises(LeaseLostError, match="over"):
        await Node(server).link.run()


async def test_an_overloaded_server_is_asked_again(server: FakeServer) -> None:
    server.refusal = Refusal(429, "overloaded", "too many workers")
    node = Node(server)
    job = asyncio.create_task(node.link.run())
    await until(lambda: "too many workers" in node.reasons)
    server.refusal = None

    await server.connected()
    job.cancel()


async def test_close_waits_for_acknowledgements_and_says_goodbye(server: FakeServer) -> None:
    node = Node(server)
    async with connected(node) as job:
        node.link.send([frame(Kind.COMPLETE, Complete(), run="a", token=1, number=1)])
        await node.link.close("done")
        await asyncio.wait_for(job, 5)

    assert [each.kind for each in server.frames] == [Kind.COMPLETE, Kind.GOODBYE]
    assert not node.link.outbox


def test_a_heartbeat_counts_from_when_it_was_sent() -> None:
    now = 0.0
    lease = Lease(lambda: now)
    lease.open(now)
    first = lease.sent(1)
    now = 4.0
    second = lease.sent(2)
    now = 13.0  # stopped in between: the answer to the first lay in a buffer

    assert lease.answered(first) == (False, 1)
    assert lease.lost()
    assert lease.answered(second) == (False, 2)
    assert not lease.lost()
    assert lease.answered(lease.sent(3)) == (True, 3)


def test_an_answer_covers_the_heartbeats_before_it() -> None:
    now = 0.0
    lease = Lease(lambda: now)
    lease.open(now)
    first, second = lease.sent(1), lease.sent(2)

    assert lease.answered(second) == (True, 2)
    assert lease.answered(first) == (False, 0)


def test_an_answer_without_a_number_means_the_oldest_heartbeat() -> None:
    now = 0.0
    lease = Lease(lambda: now)
    lease.open(now)
    lease.sent(1)
    now = 6.0
    lease.sent(2)

    assert lease.answered(0) == (False, 1)


def test_no_time_counts_while_the_database_is_away() -> None:
    now = 0.0
    lease = Lease(lambda: now)
    lease.open(now)
    now = 11.0
    lease.excuse()
    now = 22.0

    assert lease.silent()
    assert not lease.lost()
    now = 24.0
    assert lease.lost()


def test_an_answer_that_nobody_asked_for_is_no_lease() -> None:
    lease = Lease(lambda: 0.0)
    lease.open(0.0)

    assert lease.answered(0) == (False, 0)
    assert lease.answered(7) == (False, 0)
