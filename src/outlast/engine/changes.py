"""Which watched runs have changed, whoever changed them: one look at all of them, ten a second.

Nothing is written for a watcher and nobody has to tell: a look compares what is stored with what
the watchers know, so a change by another server, before a restart or without any turn is found
like any other. A run that nobody watches costs nothing.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import msgspec

from outlast.engine.database import Database
from outlast.engine.errors import EngineError, Unavailable
from outlast.engine.queries import Statement, load

logger = logging.getLogger(__name__)

CHANGES = load("changes")

MOST_RUNS = 1_000
"""A list shows its newest runs, at most this many."""

_PACE_SECONDS = 0.1
_SPACING_SECONDS = 0.01  # between two looks, so that what comes together is looked up together
_AFTER_FAILURE_SECONDS = 1.0
_LINGER_SECONDS = 5.0
_REMEMBERED = 8
_DIGEST = (1 << 53) - 1  # whole numbers that JavaScript holds

_encoder = msgspec.json.Encoder()


class Only(msgspec.Struct, frozen=True):
    """These very runs, whether they exist yet or not."""

    runs: tuple[str, ...]


class Tagged(msgspec.Struct, frozen=True):
    """The runs that have all of the tags, from an id on: see `protocol.ids.id_floor`."""

    tags: tuple[str, ...]
    floor: str


class InBatch(msgspec.Struct, frozen=True):
    """The runs of a batch."""

    batch: str


class Newest(msgspec.Struct, frozen=True):
    """The newest runs of the environment."""

    count: int


Target = Only | Tagged | InBatch | Newest
Versions = Mapping[str, int]

_LISTS: dict[type[Target], Statement] = {
    Tagged: CHANGES.list_tagged,
    InBatch: CHANGES.list_batched,
    Newest: CHANGES.list_newest,
}


class Snapshot(msgspec.Struct, frozen=True):
    """The runs of a target as one look found them. `digest` tells any two states apart, 0: none."""

    versions: Versions
    digest: int


class LiveRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run as subscribers see it. `ttl` and `active_seconds` are seconds, contents are text."""

    id: str
    task: str
    status: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    delay_until: datetime | None
    ttl: float | None
    is_test: bool
    idempotency_key: str | None
    payload: str | None
    payload_type: str
    metadata: str | None
    output: str | None
    error: str | None
    active_seconds: float
    tags: tuple[str, ...]
    streams: tuple[str, ...]


class _Changed(msgspec.Struct, frozen=True):
    n: int
    version: int


class _Member(msgspec.Struct, frozen=True):
    n: int
    id: str


class Watch:
    """One target, shared by all who watch it on this server."""

    def __init__(self, changes: "Changes", environment: str, target: Target) -> None:
        self.environment = environment
        self.target = target
        self.runs: tuple[str, ...] = target.runs if isinstance(target, Only) else ()
        self.snapshot: Snapshot | None = None
        self.watchers = 0
        self.left_at = 0.0
        self._changes = changes
        self._past: dict[int, Versions] = {0: {}}
        self._waiting: set[asyncio.Future[None]] = set()

    def versions(self, digest: int) -> Versions | None:
        """Return the state that a digest stands for; None once it is forgotten."""
        return self._past.get(digest)

    async def look(self) -> Snapshot:
        """Return what is stored now. Raises `Unavailable`."""
        await self._changes.look_at(self)
        assert self.snapshot is not None
        return self.snapshot

    async def wait(self, digest: int, seconds: float) -> Snapshot:
        """Return the state once it is another one than the digest's, at the latest after `seconds`.

        Raises `Unavailable`.
        """
        snapshot = self.snapshot
        if snapshot is None or digest not in self._past:  # known from another server, or before
            snapshot = await self.look()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while snapshot.digest == digest and not self._changes.closed:
                    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiting.add(future)
                    try:
                        await future
                    finally:
                        self._waiting.discard(future)
                    snapshot = self.snapshot or snapshot
        return snapshot

    def show(self, versions: Versions) -> None:
        """Take what a look found; wake who waits when it is something new."""
        digest = sum(versions.values()) & _DIGEST
        if self.snapshot is not None and self.snapshot.digest == digest:
            return
        self.snapshot = Snapshot(versions, digest)
        if digest:
            self._past.pop(digest, None)
            self._past[digest] = versions
        for old in list(self._past)[1:-_REMEMBERED]:  # the empty state stays: it costs nothing
            del self._past[old]
        self.wake()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


class Changes:
    """Looks at what is watched on this server, for as long as something is."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watches: dict[tuple[str, Target], Watch] = {}
        self._holders: dict[tuple[str, str], set[Watch]] = {}
        self._versions: dict[tuple[str, str], int] = {}
        self._asked: dict[Watch, asyncio.Future[None] | None] = {}
        self._called = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.closed = False

    @contextmanager
    def watch(self, environment: str, target: Target) -> Iterator[Watch]:
        """Watch a target for a block, and some seconds more: who left may come back."""
        key = (environment, target)
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = Watch(self, environment, target)
            self._hold(watch, watch.runs)
        watch.watchers += 1
        if self._task is None and not self.closed:
            self._task = asyncio.create_task(self._run(), name="changes")
        try:
            yield watch
        finally:
            watch.watchers -= 1
            watch.left_at = asyncio.get_running_loop().time()

    async def follow(
        self, environment: str, target: Target
    ) -> AsyncGenerator[frozenset[str], None]:
        """Yield the runs of a target, then those that have changed whenever some have."""
        known: Versions = {}
        with self.watch(environment, target) as watch:
            snapshot = await watch.look()
            while not self.closed:
                yield frozenset(
                    run for run, version in snapshot.versions.items() if known.get(run) != version
                )
                known = snapshot.versions
                before = snapshot
                while snapshot.digest == before.digest and not self.closed:
                    snapshot = await watch.wait(before.digest, _LINGER_SECONDS)

    async def rows(self, environment: str, runs: Sequence[str]) -> list[LiveRun]:
        """Return runs as subscribers see them, oldest first. Raises `Unavailable`."""
        return await self._database.fetch(
            LiveRun, CHANGES.read_rows, environment_id=environment, ids=list(runs)
        )

    def ended(self, environment: str, run: str) -> None:
        """Hear of an end from this server's own turn: whoever watches the run need not wait."""
        for watch in self._holders.get((environment, run), ()):
            self._asked.setdefault(watch)
            self._called.set()

    async def look_at(self, watch: Watch) -> None:
        """Return after a look at a watch that began after this call. Raises `Unavailable`."""
        if self.closed:
            raise Unavailable("the server is stopping; try another")
        future = self._asked.get(watch)
        if future is None:
            future = self._asked[watch] = asyncio.get_running_loop().create_future()
        self._called.set()
        await asyncio.shield(future)

    def release(self) -> None:
        """Send everybody home who waits: the server is stopping."""
        self.closed = True
        self._called.set()
        for watch in self._watches.values():
            watch.wake()

    async def close(self) -> None:
        """Stop looking."""
        self.release()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._answer(self._asked, Unavailable("the server is stopping; try another"))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        next_round = 0.0  # the first look is at everything
        try:
            while self._watches and not self.closed:
                self._called.clear()
                asked, self._asked = self._asked, {}
                began = loop.time()
                is_round = began >= next_round
                watches = self._watches.values() if is_round else asked
                rest = await self._look_for(list(watches), asked)
                now = loop.time()
                if is_round:
                    next_round = began + _PACE_SECONDS
                    self._forget(now - _LINGER_SECONDS)
                await asyncio.sleep(max(rest, now - began))  # at most half of the time
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(next_round - loop.time()):
                        await self._called.wait()
        finally:
            self._task = None

    async def _look_for(
        self,
        watches: Sequence[Watch],
        asked: Mapping[Watch, "asyncio.Future[None] | None"],
    ) -> float:
        """Look once, answer who asked, and return the seconds to rest."""
        error: EngineError | None = Unavailable("the server is stopping; try another")
        try:
            await self._look(watches)
            error = None
        except EngineError as failed:
            logger.warning("looking for changes failed", extra={"why": str(failed)})
            error = failed
        except Exception:
            logger.exception("looking for changes failed")
            error = Unavailable("looking for changes failed")
        finally:
            self._answer(asked, error)
        return _SPACING_SECONDS if error is None else _AFTER_FAILURE_SECONDS

    async def _look(self, watches: Sequence[Watch]) -> None:
        """Find the members of lists, then the versions of all runs; show who sees something new."""
        stale = {watch for watch in watches if watch.snapshot is None}
        for kind, statement in _LISTS.items():
            lists = [watch for watch in watches if isinstance(watch.target, kind)]
            if lists:
                stale |= await self._find_members(lists, statement)
        keys = list({(watch.environment, run) for watch in watches for run in watch.runs})
        for key, version in await self._find_changed(keys):
            if key in self._holders:
                self._versions[key] = version
                stale |= self._holders[key]
        for watch in stale:
            found = ((run, self._versions.get((watch.environment, run))) for run in watch.runs)
            watch.show({run: version for run, version in found if version is not None})

    async def _find_members(self, lists: Sequence[Watch], statement: Statement) -> set[Watch]:
        asked = [
            {"n": n, "environment": watch.environment, **msgspec.structs.asdict(watch.target)}
            for n, watch in enumerate(lists)
        ]
        rows = await self._database.fetch(
            _Member, statement, lists=_encoder.encode(asked).decode(), most=MOST_RUNS
        )
        members: list[list[str]] = [[] for _ in lists]
        for row in rows:
            members[row.n].append(row.id)
        moved: set[Watch] = set()
        for watch, found in zip(lists, map(tuple, members), strict=True):
            if found != watch.runs:
                self._release(watch, set(watch.runs) - set(found))
                self._hold(watch, found)
                watch.runs = found
                moved.add(watch)
        return moved

    async def _find_changed(
        self, keys: Sequence[tuple[str, str]]
    ) -> list[tuple[tuple[str, str], int]]:
        if not keys:
            return []
        rows = await self._database.fetch(
            _Changed,
            CHANGES.list_changed,
            environments=[environment for environment, _ in keys],
            runs=[run for _, run in keys],
            known=[self._versions.get(key) for key in keys],
        )
        return [(keys[row.n - 1], row.version) for row in rows]

    def _hold(self, watch: Watch, runs: Iterable[str]) -> None:
        for run in runs:
            self._holders.setdefault((watch.environment, run), set()).add(watch)

    def _release(self, watch: Watch, runs: Iterable[str]) -> None:
        for run in runs:
            key = (watch.environment, run)
            self._holders[key].discard(watch)
            if not self._holders[key]:
                del self._holders[key]
                self._versions.pop(key, None)

    def _forget(self, before: float) -> None:
        """Drop what nobody has watched since a moment."""
        for key, watch in list(self._watches.items()):
            if not watch.watchers and watch.left_at < before and watch not in self._asked:
                del self._watches[key]
                self._release(watch, watch.runs)

    @staticmethod
    def _answer(
        asked: Mapping[Watch, "asyncio.Future[None] | None"], error: EngineError | None
    ) -> None:
        for future in asked.values():
            if future is None or future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
                future.exception()  # who asked may have left
