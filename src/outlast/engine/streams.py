"""Streams: chunks that runs append and anybody reads along, and messages that are sent to runs.

Chunks stay outside the cycle and count once per attempt. Messages can wake a run: the turn numbers
them and hands each to one entry.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from outlast.engine.cycles import Cycles
from outlast.engine.database import Database, Executor
from outlast.engine.errors import Conflict, InvalidRequest, NotFound
from outlast.engine.group_commit import Done, GroupCommit, Order
from outlast.engine.queries import load
from outlast.engine.turn import Message
from outlast.protocol.streams import (
    MAX_MESSAGE_BYTES,
    TARGETS,
    Append,
    Appended,
    Chunk,
    is_key,
)

STREAMS = load("streams")

_MOST_BYTES = 4 * 1024 * 1024  # of one statement
POLL_SECONDS = 0.5
"""How late a reader hears of what another server took."""
_encoder = msgspec.json.Encoder()


class Feed(NamedTuple):
    """A stream of a run."""

    run: str
    key: str


class Read(msgspec.Struct, frozen=True):
    """A chunk as its readers get it; `data` is JSON text, or what a writer outside sent instead."""

    index: int
    data: str


class Goal(msgspec.Struct, frozen=True):
    """The run that a target names."""

    id: str
    has_ended: bool


class _ChunkRow(msgspec.Struct, frozen=True):
    n: int
    run: str
    token: int | None
    target: str
    key: str
    scope: str
    ordinal: int
    data: str


class _Told(msgspec.Struct, frozen=True):
    n: int | None
    goal: str
    key: str
    problem: str | None


class _Standing(msgspec.Struct, frozen=True):
    run_id: str
    key: str
    chunks: int
    has_ended: bool


class _Keys(msgspec.Struct, frozen=True):
    run_id: str
    keys: tuple[str, ...]


class Streams:
    """The streams of all runs. What a caller may reach, the caller of these methods has checked."""

    def __init__(self, database: Database, *, cycles: Cycles) -> None:
        self._database = database
        self._cycles = cycles
        self._feeds = _Feeds(database)
        self._writes = GroupCommit("stream writer", database, self._flush, most_bytes=_MOST_BYTES)

    # ── writing ───────────────────────────────────────────────────────────────────────────────

    def write(self, run: str, token: int, body: Append, done: Done[Appended]) -> None:
        """Call `done` when a run's chunks are on disk, or with the error that keeps them from it.

        Under a stale token nothing is written.
        """
        size = sum(len(chunk.data) for chunk in body.chunks)
        self._writes.write(Order(run, token, body, done, size))

    async def goal(self, environment: str, run: str, target: str) -> str:
        """Return the id of the run that a writer outside means. Raises `NotFound`, `Conflict`."""
        found = None
        if target in TARGETS:
            found = await self._database.fetch_one(
                Goal, STREAMS.goal, environment=environment, run=run, target=target
            )
        if found is None:
            raise NotFound(f"run {run[:80]!r} has no stream target {target[:80]!r}")
        if found.has_ended:
            raise Conflict(f"run {found.id} has ended; its streams are closed")
        return found.id

    async def open(self, run: str, key: str) -> None:
        """Announce a stream of a run: readers see that it is there. Raises `InvalidRequest`."""
        check_key(key)
        await self._database.execute(STREAMS.open, run=run, key=key)

    async def append(
        self, run: str, key: str, parts: Sequence[str], *, writer: str, first: int = 0
    ) -> None:
        """Append what a writer outside sends, from its chunk `first` on; each counts once.

        Raises `InvalidRequest` for what is left out.
        """
        check_key(key)
        chunks = tuple(
            Chunk(scope=writer, ordinal=first + n + 1, key=key, data=part)
            for n, part in enumerate(parts)
        )
        async with self._database.acquire() as executor:
            told = await _append(executor, _rows(run, None, chunks, 0))
        self._feeds.grown(told)
        for each in told:
            if each.problem is not None:
                raise InvalidRequest(f"a chunk of stream {key!r} is left out: {each.problem}")

    async def last_of(self, run: str, writer: str) -> int:
        """Return the index of the last chunk that a writer outside sent; -1: none."""
        found = await self._database.fetch_value(STREAMS.last_of_writer, run=run, scope=writer)
        return int(str(found))

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    async def read(
        self, run: str, key: str, *, start: int = 0, patience: float
    ) -> AsyncIterator[list[Read]]:
        """Yield the chunks of a stream from an index on, as they come, until the run has ended.

        An empty list says that nothing came for `patience` seconds.
        """
        feed = Feed(run, key)
        with self._feeds.follow(feed) as news:
            while True:
                news.clear()
                ended = await self._feeds.has_ended(feed)  # before the look: nothing follows an end
                while found := await self._database.fetch(
                    Read, STREAMS.chunks, run=run, key=key, start=start
                ):
                    start = found[-1].index + 1
                    yield found
                if ended:
                    return
                try:
                    async with asyncio.timeout(patience):
                        await news.wait()
                except TimeoutError:
                    yield []

    async def next_index(self, run: str, key: str) -> int:
        """Return the index that the next chunk of a stream will have."""
        [standing] = await _standing(self._database, [Feed(run, key)])
        return standing.chunks

    async def keys_of(self, runs: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the keys of the streams that runs have written, by run."""
        rows = await self._database.fetch(_Keys, STREAMS.keys_of, runs=list(runs))
        return {row.run_id: row.keys for row in rows}

    async def poll(self) -> None:
        """Look for chunks and ends that other servers took; no work while nobody reads here."""
        await self._feeds.poll()

    # ── messages ──────────────────────────────────────────────────────────────────────────────

    async def send(self, environment: str, run: str, key: str, data: str, *, message: str) -> None:
        """Send JSON text to a run's input stream; the same `message` id counts once.

        It is kept until the run receives it. Raises `NotFound`, `Conflict` when the run has ended,
        `InvalidRequest`.
        """
        check_key(key)
        if len(data.encode(errors="replace")) > MAX_MESSAGE_BYTES:
            raise InvalidRequest("a message is larger than 1 MB; send a link", param="data")
        found = await self._database.fetch_value(
            STREAMS.store_message,
            environment=environment, run=run, key=key, message=message, data=data,
        )  # fmt: skip
        if found is None:
            raise NotFound(f"there is no run {run[:80]!r} in this environment")
        [told] = await self._cycles.of(environment).ask(Message(run=run, key=key, message=message))
        if told.data == "ended":
            raise Conflict(f"run {run} has ended; it receives no more messages")
        if told.data == "full":
            raise InvalidRequest(f"input stream {key!r} of run {run} holds 300 MiB, the most")

    async def messages(self, run: str, key: str, *, after: int = 0) -> list[Read]:
        """Return messages of an input stream after a number, received or not."""
        return await self._database.fetch(Read, STREAMS.messages, run=run, key=key, start=after)

    async def close(self, seconds: float) -> None:
        """Write what has gathered and stop, after so many seconds in any case."""
        await self._writes.close(seconds)

    async def _flush(
        self, executor: Executor, orders: Sequence[Order[Append, Appended]]
    ) -> list[Appended | None]:
        rows: list[_ChunkRow] = []
        owners: list[int] = []
        for number, order in enumerate(orders):
            rows += _rows(order.run, order.token, order.body.chunks, len(rows))
            owners += [number] * len(order.body.chunks)
        problems: list[list[str]] = [[] for _ in orders]
        told = await _append(executor, rows)
        for each in told:
            if each.n is not None and each.problem is not None:
                problems[owners[each.n]].append(
                    f"stream {each.key} of run {each.goal}: {each.problem}"
                )
        self._feeds.grown(told)
        return [Appended(tuple(dict.fromkeys(each))) for each in problems]


class _Feeds:
    """The streams that are read on this server: who reads is woken when there is more."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._readers: dict[Feed, set[asyncio.Event]] = {}
        self._known: dict[Feed, _Standing] = {}

    @contextlib.contextmanager
    def follow(self, feed: Feed) -> Iterator[asyncio.Event]:
        """Give the event that is set when the stream has more, or its run has ended."""
        event = asyncio.Event()
        readers = self._readers.setdefault(feed, set())
        readers.add(event)
        try:
            yield event
        finally:
            readers.discard(event)
            if not readers:
                self._readers.pop(feed, None)
                self._known.pop(feed, None)

    async def has_ended(self, feed: Feed) -> bool:
        """Return whether the run of a stream has ended."""
        [standing] = await _standing(self._database, [feed])
        return standing.has_ended

    def grown(self, told: Iterable[_Told]) -> None:
        """Wake who reads a stream that has got more."""
        for each in told:
            self._wake(Feed(each.goal, each.key))

    async def poll(self) -> None:
        """Wake who reads a stream that has changed since the last look."""
        if not self._readers:
            return
        for standing in await _standing(self._database, list(self._readers)):
            feed = Feed(standing.run_id, standing.key)
            if self._known.get(feed) != standing and feed in self._readers:
                self._known[feed] = standing
                self._wake(feed)

    def _wake(self, feed: Feed) -> None:
        for event in self._readers.get(feed, ()):
            event.set()


def check_key(key: str) -> None:
    """Raise `InvalidRequest` for a text that cannot name a stream."""
    if not is_key(key):
        raise InvalidRequest("a stream's key has 1 to 200 printable characters and no slash")


async def _standing(database: Database, feeds: Sequence[Feed]) -> list[_Standing]:
    return await database.fetch(
        _Standing,
        STREAMS.standing,
        runs=[feed.run for feed in feeds],
        keys=[feed.key for feed in feeds],
    )


async def _append(executor: Executor, rows: Sequence[_ChunkRow]) -> list[_Told]:
    return await executor.fetch_exact(_Told, STREAMS.append, items=_encoder.encode(rows).decode())


def _rows(run: str, token: int | None, chunks: Sequence[Chunk], first: int) -> list[_ChunkRow]:
    return [
        _ChunkRow(first + n, run, token, each.target, each.key, each.scope, each.ordinal, each.data)
        for n, each in enumerate(chunks)
    ]
