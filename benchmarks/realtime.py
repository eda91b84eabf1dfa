"""Subscribers of many runs on one server: milliseconds from a change's commit to its delivery.

The changes are made behind the server's back, as another server would make them. The callers are
bare sockets, so that the machine's time goes to the server.
"""

import asyncio
import random
import re
import statistics
import time
from typing import Final

import asyncpg

from benchmarks.rows import Figure
from benchmarks.stage import Stage
from outlast import tasks

SUBSCRIBERS: Final = 2_000
RUNS: Final = 200
MOST_MS: Final = 250.0
"""What the 99th percentile may be."""

_PER_SECOND = 20.0
_SECONDS = 15.0
_CHANGE = """
insert into outlast.metadata (run_id, value, updated_at)
values ($1, jsonb_build_object('at', extract(epoch from clock_timestamp())), clock_timestamp())
on conflict (run_id) do update set value = excluded.value, updated_at = excluded.updated_at
"""
_HEADER = re.compile(rb"(?i)\r\n(electric-[a-z]+|content-length): ([^\r]*)")
_AT = re.compile(rb'\\"at\\": ([0-9.]+)')


class _Subscriber:
    """One connection that follows one run for as long as it may."""

    def __init__(self, stage: Stage, run: str, delays: list[float]) -> None:
        host, _, port = stage.apis[0].removeprefix("http://").partition(":")
        self._place = host, int(port)
        self._path = f"/realtime/v1/runs/{run}"
        self._key = stage.key
        self._delays = delays
        self.is_live = asyncio.Event()

    async def follow(self) -> None:
        reader, writer = await asyncio.open_connection(*self._place)
        query, cursor = "offset=-1", ""
        try:
            while True:
                writer.write(
                    f"GET {self._path}?{query} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
                    f"authorization: Bearer {self._key}\r\n\r\n".encode()
                )
                head = await reader.readuntil(b"\r\n\r\n")
                told = {name.lower(): value.decode() for name, value in _HEADER.findall(head)}
                body = await reader.readexactly(int(told[b"content-length"]))
                now = time.time()
                if self.is_live.is_set():
                    self._delays += [now - float(at) for at in _AT.findall(body)]
                self.is_live.set()
                cursor = told.get(b"electric-cursor", cursor)
                query = (
                    f"offset={told[b'electric-offset']}&handle={told[b'electric-handle']}"
                    f"&live=true&cursor={cursor}"
                )
        finally:
            writer.close()


async def delivery(stage: Stage) -> Figure:
    """Return the median in ms; the note says the 99th percentile and whether it is low enough."""
    runs = [(await tasks.trigger("noop", number, delay="1d")).id for number in range(RUNS)]
    delays: list[float] = []
    subscribers = [_Subscriber(stage, runs[number % RUNS], delays) for number in range(SUBSCRIBERS)]
    following = []
    for subscriber in subscribers:
        following.append(asyncio.create_task(subscriber.follow()))
        if len(following) % 50 == 0:
            await subscriber.is_live.wait()
    for subscriber in subscribers:
        await subscriber.is_live.wait()
    made = await _change(stage, runs)
    await asyncio.sleep(2)
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    told = sorted(delay * 1000 for delay in delays)
    p99 = told[int(len(told) * 0.99)]
    verdict = "low enough" if p99 < MOST_MS else "TOO HIGH"
    note = (
        f"p99 {p99:.0f} ms of {MOST_MS:.0f} allowed: {verdict}; {len(told):,} deliveries of "
        f"{made * SUBSCRIBERS // RUNS:,}, {made} changes"
    )
    return Figure(statistics.median(told), len(told), note)


async def _change(stage: Stage, runs: list[str]) -> int:
    """Change runs at a steady rate; return how often."""
    connection = await asyncpg.connect(stage.url)
    made = 0
    until = time.perf_counter() + _SECONDS
    try:
        while time.perf_counter() < until:
            await connection.execute(_CHANGE, random.choice(runs))
            made += 1
            await asyncio.sleep(1 / _PER_SECOND)
    finally:
        await connection.close()
    return made
