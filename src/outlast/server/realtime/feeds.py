"""Answers of realtime feeds: at once to who is behind, else when something changes."""

import asyncio
import random
from collections.abc import Callable
from weakref import WeakKeyDictionary

import msgspec

from outlast.engine.changes import Changes, Snapshot, Watch
from outlast.server.realtime import rows
from outlast.server.realtime.shapes import NOTHING, Ask, Seen

HOLD_SECONDS = 20.0
_JITTER = 0.15

Body = asyncio.Task[bytes]


class Answer(msgspec.Struct, frozen=True):
    """What a caller is told, and the state that it has then."""

    body: bytes
    seen: Seen


class _Bodies(msgspec.Struct):
    """The answers to callers of one state, made once for all of them."""

    digest: int
    made: dict[tuple[int | None, frozenset[str]], Body]


class Feeds:
    """The realtime feeds of one server."""

    def __init__(self, changes: Changes, *, hold: Callable[[], float] | None = None) -> None:
        self._changes = changes
        self.hold = hold or _patience
        self._bodies: WeakKeyDictionary[Watch, _Bodies] = WeakKeyDictionary()

    async def answer(self, environment: str, ask: Ask) -> Answer:
        """Return what the caller has not seen yet. Raises `Unavailable`."""
        seen = ask.seen
        with self._changes.watch(environment, ask.shape.target) as watch:
            if seen is not None and ask.live:
                snapshot = await watch.wait(seen.digest, self.hold())
            else:
                snapshot = await watch.look()
            body = await self._body(watch, snapshot, seen, ask.shape.skipped)
        return Answer(body, (seen or NOTHING).next(snapshot.digest))

    async def _body(
        self, watch: Watch, snapshot: Snapshot, seen: Seen | None, skipped: frozenset[str]
    ) -> bytes:
        if snapshot.digest == (seen or NOTHING).digest:
            return rows.body((), skipped, ())
        bodies = self._bodies.get(watch)
        if bodies is None or bodies.digest != snapshot.digest:
            bodies = self._bodies[watch] = _Bodies(snapshot.digest, {})
        key = (None if seen is None else seen.digest, skipped)
        task = bodies.made.get(key)
        if task is None or (task.done() and task.exception() is not None):
            task = bodies.made[key] = asyncio.create_task(
                self._make(watch, snapshot, seen, skipped)
            )
        return await asyncio.shield(task)

    async def _make(
        self, watch: Watch, snapshot: Snapshot, seen: Seen | None, skipped: frozenset[str]
    ) -> bytes:
        """Read what changed between two states; all of it when the earlier one is forgotten.

        A row is read after its version, so it can be newer and come again, but never be missed.
        """
        before = (watch.versions(seen.digest) if seen is not None else None) or {}
        changed = [run for run, version in snapshot.versions.items() if before.get(run) != version]
        found = await self._changes.rows(watch.environment, changed)
        return rows.body(found, skipped, before.keys())


def _patience() -> float:
    """Return how long a request is held, not the same for all: they would come back together."""
    return HOLD_SECONDS * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
