"""A worker made of frames: tests script what its runs do, without processes or sockets."""

import asyncio
from collections.abc import Callable
from typing import Literal, TypeVar

import msgspec

from outlast.engine.engine import Engine
from outlast.engine.tenancy import Environment
from outlast.protocol import frames, messages
from outlast.protocol.frames import Frame, Kind, frame
from outlast.protocol.manifests import Manifest, QueueManifest, RetryPolicy, TaskManifest
from outlast.protocol.messages import Heartbeat, Held, Hello, held_digest
from outlast.protocol.outcomes import Outcome, RunError
from outlast.protocol.vitals import Vitals

DEADLINE = 10.0
_DEFAULT_RETRY = RetryPolicy()
Body = TypeVar("Body", bound=msgspec.Struct)


def manifest(
    *tasks: str,
    digest: str = "digest-1",
    queues: tuple[QueueManifest, ...] = (),
    queue: str | None = None,
    retry: RetryPolicy = _DEFAULT_RETRY,
    executor: Literal["shared", "dedicated"] = "shared",
) -> Manifest:
    """Return a manifest that offers tasks of these ids."""
    return Manifest(
        digest=digest,
        tasks=tuple(
            TaskManifest(
                id=task,
                executor=executor,
                file=f"trigger/{task}.py",
                function=task,
                queue=queue or f"task/{task}",
                retry=retry,
            )
            for task in tasks
        ),
        queues=queues,
        runtime="python 3.11",
        sdk="0",
    )


class Claimed:
    """A run in the hands of the fake worker."""

    def __init__(self, worker: "FakeWorker", run: str, token: int, claim: messages.Claim) -> None:
        self.worker = worker
        self.run = run
        self.token = token
        self.claim = claim
        self.number = 0

    def send(self, kind: Kind, body: msgspec.Struct) -> int:
        """Send a frame of this run."""
        self.number += 1
        self.worker.send(frame(kind, body, run=self.run, token=self.token, number=self.number))
        return self.number

    def complete(self, output: str = "null") -> None:
        self.worker.forget(self)
        self.send(Kind.COMPLETE, messages.Complete(output))

    def fail(self, message: str = "boom", *, retry_in: float | None = None) -> None:
        self.worker.forget(self)
        error = RunError(kind="raised", type="ValueError", message=message)
        self.send(Kind.FAIL, messages.Fail(error, retry_in))

    def restart(self, payload: str | None = None) -> None:
        self.worker.forget(self)
        self.send(Kind.RESTART, messages.Restart(payload))

    async def step(self, key: str, value: str = "1", number: int = 1) -> Outcome:
        """Record a step and return what the journal holds."""
        body = messages.Step(key, "step", key, number, Outcome(True, value))
        sent = self.send(Kind.STEP, body)
        return (await self.ack(sent, messages.Stepped)).outcome

    async def call(self, key: str, kind: str, *items: object, **options: object) -> messages.Called:
        body = messages.Call(key, kind, kind, tuple(items), **options)  # type: ignore[arg-type]
        return await self.ack(self.send(Kind.CALL, body), messages.Called)

    async def suspend(self, *keys: str) -> bool:
        held = (
            await self.ack(self.send(Kind.SUSPEND, messages.Suspend(keys)), messages.Suspended)
        ).held
        if held:
            self.worker.park(self)
        return held

    async def ack(self, number: int, body: type[Body]) -> Body:
        found = await self.worker.next(
            lambda f: (
                f.kind == Kind.ACK and (f.run, f.token, f.number) == (self.run, self.token, number)
            )
        )
        return msgspec.msgpack.decode(found.body, type=body)

    async def result(self, key: str) -> Outcome:
        """Wait for the RESULT of an entry."""

        def fits(f: Frame) -> bool:
            if f.kind != Kind.RESULT or f.run != self.run:
                return False
            return msgspec.msgpack.decode(f.body, type=messages.Result).key == key

        found = await self.worker.next(fits)
        return msgspec.msgpack.decode(found.body, type=messages.Result).outcome


class FakeWorker:
    """A worker session whose runs are driven by the test."""

    def __init__(self, engine: Engine, environment: Environment, hello: Hello) -> None:
        self.engine = engine
        self.environment = environment
        self.hello = hello
        self.inbox: list[Frame] = []
        self.history: list[Frame] = []
        self._more = asyncio.Event()
        self.held: dict[str, int] = {}

    @classmethod
    async def open(
        cls,
        engine: Engine,
        environment: Environment,
        offered: Manifest,
        *,
        session: str = "session_a",
        shared: int = 100,
        dedicated: int = 4,
    ) -> "FakeWorker":
        hello = Hello(
            protocol=frames.PROTOCOL,
            session=session,
            name=session,
            host="test",
            pid=1,
            manifest=offered,
            capacity={"shared": shared, "dedicated": dedicated},
        )
        worker = cls(engine, environment, hello)
        await worker.connect(engine)
        return worker

    async def connect(self, engine: Engine) -> None:
        """Open a socket to a server, with everything held."""
        self.engine = engine
        held = tuple(Held(run, token) for run, token in self.held.items())
        hello = msgspec.structs.replace(self.hello, held=held)
        await engine.gateway.open(self.environment, hello, self._deliver)

    def _deliver(self, batch: list[Frame]) -> None:
        self.inbox.extend(batch)
        self.history.extend(batch)
        self._more.set()

    def send(self, *batch: Frame) -> None:
        self.engine.gateway.receive(self.hello.session, list(batch))

    def forget(self, claimed: Claimed) -> None:
        self.held.pop(claimed.run, None)

    def park(self, claimed: Claimed) -> None:
        self.held[claimed.run] = claimed.token

    async def next(self, fits: Callable[[Frame], bool]) -> Frame:
        """Return the next frame that fits, wherever it stands among others."""
        async with asyncio.timeout(DEADLINE):
            while True:
                for index, item in enumerate(self.inbox):
                    if fits(item):
                        return self.inbox.pop(index)
                self._more.clear()
                await self._more.wait()

    async def claim(self, run: str | None = None) -> Claimed:
        """Wait for a CLAIM, of a certain run or any."""
        found = await self.next(lambda f: f.kind == Kind.CLAIM and run in (None, f.run))
        self.held[found.run] = found.token
        body = msgspec.msgpack.decode(found.body, type=messages.Claim)
        return Claimed(self, found.run, found.token, body)

    async def dropped(self, run: str) -> int:
        """Wait for a DROP of a run; return the token it names."""
        return (await self.next(lambda f: f.kind == Kind.DROP and f.run == run)).token

    async def beat(self, vitals: Vitals | None = None) -> messages.Beat:
        held = tuple(Held(run, token) for run, token in self.held.items())
        return await self.engine.gateway.heartbeat(
            self.hello.session, Heartbeat(held_digest(held), held, vitals)
        )

    @property
    def claims_waiting(self) -> int:
        return sum(1 for f in self.inbox if f.kind == Kind.CLAIM)
