"""Many environments at once, each with a worker of its own made of frames.

A thousand worker processes do not fit on the machines this runs on, and they are not what is asked
about: what a server makes of a thousand cycles is.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.stage import Stage
from outlast.client import batches
from outlast.protocol.frames import PROTOCOL, Frame, Kind, frame, pack, unpack
from outlast.protocol.manifests import Manifest, TaskManifest
from outlast.protocol.messages import Complete, Heartbeat, Hello, Started, held_digest
from outlast.protocol.triggers import Trigger

_BEAT_SECONDS = 4.0
_IN_FLIGHT = 64
_MANIFEST = Manifest(
    digest="crowd",
    tasks=(
        TaskManifest(id="noop", executor="shared", file="crowd.py", function="noop", queue="q"),
    ),
    queues=(),
    runtime="python",
    sdk="0",
)


async def measure(stage: Stage, *, environments: int, runs: int) -> tuple[float, int]:
    """Return runs per second over all environments, and how many there were."""
    keys = await stage.projects(environments)
    count = environments * runs
    async with _workers(stage.apis[0], keys), httpx.AsyncClient(trust_env=False) as client:
        target = await stage.ended() + count
        began = time.perf_counter()
        rest = iter(keys)

        async def one_after_the_other() -> None:
            for key in rest:
                await _batch(client, stage.apis[0], key, runs)

        async with asyncio.TaskGroup() as group:
            for _ in range(_IN_FLIGHT):
                group.create_task(one_after_the_other())
        await stage.until_ended(target)
        return count / (time.perf_counter() - began), count


async def _batch(client: httpx.AsyncClient, api: str, key: str, runs: int) -> None:
    """Hand in the runs of one environment, as the client does it."""
    headers = {"authorization": f"Bearer {key}"}
    asked = batches.create(runs)
    made = await client.request(
        asked.method, api + asked.path, content=asked.body, headers=headers | asked.headers()
    )
    given = batches.send_items(
        made.raise_for_status().json()["id"], [Trigger(task="noop", payload="1")] * runs
    )
    answer = await client.request(
        given.method, api + given.path, content=given.body, headers=headers | given.headers()
    )
    answer.raise_for_status()


@asynccontextmanager
async def _workers(api: str, keys: list[str]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        works: list[asyncio.Task[None]] = []
        for number, key in enumerate(keys):
            socket = await stack.enter_async_context(
                connect(
                    f"{api.replace('http', 'ws', 1)}/api/outlast/v1/worker",
                    additional_headers={"authorization": f"Bearer {key}"},
                    compression=None,
                    ping_interval=None,  # heartbeats do that
                    proxy=None,
                )
            )
            await socket.send(pack([frame(Kind.HELLO, _hello(number))]))
            await socket.recv()
            works += [group.create_task(_work(socket)), group.create_task(_beat(socket))]
        yield
        for work in works:
            work.cancel()


def _hello(number: int) -> Hello:
    session = f"session_crowd_{time.time_ns()}_{number}"
    return Hello(
        protocol=PROTOCOL,
        session=session,
        name=session,
        host="crowd",
        pid=1,
        manifest=_MANIFEST,
        capacity={"shared": 100},
    )


async def _work(socket: ClientConnection) -> None:
    """End every run that is claimed as soon as it comes."""
    async for message in socket:
        answers: list[Frame] = []
        for claim in unpack(message) if isinstance(message, bytes) else ():
            if claim.kind == Kind.CLAIM:
                run, token = claim.run, claim.token
                answers.append(frame(Kind.STARTED, Started(), run=run, token=token, number=1))
                answers.append(frame(Kind.COMPLETE, Complete("1"), run=run, token=token, number=2))
        if answers:
            await socket.send(pack(answers))


async def _beat(socket: ClientConnection) -> None:
    number = 0
    while True:
        await asyncio.sleep(_BEAT_SECONDS)
        number += 1
        await socket.send(pack([frame(Kind.HEARTBEAT, Heartbeat(held_digest(())), number=number)]))
