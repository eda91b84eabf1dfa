"""The journal of a run as its executor sees it: which entry answers which call.

Within an attempt the journal is law: the n-th call of a scope is the recorded one, or the code is
not deterministic. A new attempt uses what earlier ones finished as a cache, found by content, and
writes its own entries under keys of its own, so that neither can be taken for the other.
"""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from outlast.protocol.messages import Entry
from outlast.protocol.outcomes import Outcome
from outlast.protocol.triggers import Triggered
from outlast.sdk.errors import NonDeterministicReplayError, UsageError
from outlast.sdk.runtime import EntryKind
from outlast.worker.quiescence import EntryFuture
from outlast.worker.scopes import Scope

MAX_KEY = 390
_KEPT = 350
MAX_ENTRIES = 10_000
"""Entries of one run; a cold resume loads them all."""
_MANY_ENTRIES = 8_000
_WAYS_OUT = (
    "wait for many children in one entry with task.map(items, window=...) or "
    "batch_trigger_and_wait, or raise Restart(payload) to go on with an empty journal"
)
_NUMBERS_OF_AN_ATTEMPT = 1 << 20

logger = logging.getLogger("outlast.worker")


@dataclass(slots=True, eq=False)
class Item:
    """One entry that the code has asked for.

    `key` is what the code knows it by, `wire` what the journal knows it by. `made` says that the
    entry exists or is on its way to the server; `outcome` is what will be, or was, delivered.
    """

    key: str
    wire: str
    kind: str
    name: str
    scope: Scope
    position: int
    content: str
    made: bool = False
    cached: bool = False
    abandoned: bool = False
    number: int | None = None
    outcome: Outcome | None = None
    triggered: tuple[Triggered, ...] = ()
    waiter: EntryFuture | None = None
    delivered: bool = False
    failure: BaseException | None = None
    keeps_until: float = 0.0
    """Time of the loop until which the run keeps its slot for this entry."""

    @property
    def waits(self) -> bool:
        """Whether the code waits for the result."""
        return self.waiter is not None and not self.waiter.done()


@dataclass(slots=True)
class _Slot:
    scope: Scope
    position: int
    kind: str
    name: str


@dataclass(slots=True)
class _Record:
    """What the journal holds of one scope in this attempt."""

    at: dict[int, str] = field(default_factory=dict)  # position -> key
    undelivered: set[str] = field(default_factory=set)


class Journal:
    """The entries of one run in one executor."""

    def __init__(
        self,
        run: str,
        attempt: int,
        *,
        earlier: int = 0,
        resumed: bool,
        entries: Iterable[Entry],
        strict: bool = False,
    ) -> None:
        self._run = run
        self._strict = strict
        self._size = 0
        self._attempt = attempt
        self._suffix = f"@{attempt}" if attempt > 1 else ""
        self.base = (attempt - earlier - 1) * _NUMBERS_OF_AN_ATTEMPT
        """Numbers of delivery in this attempt are greater than this."""
        self._law: dict[str, Entry] = {}
        self._cache: dict[str, Entry] = {}
        self._places: dict[str, int] = {}  # key -> recorded position
        self._records: defaultdict[str, _Record] = defaultdict(_Record)
        self._slots: dict[str, _Slot] = {}
        self._equals: dict[str, int] = {}
        self.items: dict[str, Item] = {}
        self._by_wire: dict[str, Item] = {}
        self._late: dict[str, Outcome] = {}
        for entry in entries:
            self._size += 1
            self._take(entry, resumed=resumed)

    def recorded(self) -> list[tuple[int, str, bool]]:
        """Return (number, wire key, abandoned) of what this attempt received, in that order."""
        if not self._law and not self._cache:
            return []
        known = (*self._law.values(), *self._cache.values())
        return sorted(
            (entry.number, entry.key, entry.abandoned)
            for entry in known
            if entry.number is not None and entry.number > self.base
        )

    def reserve(self, scope: Scope, kind: EntryKind, name: str) -> str:
        """Return the key of a call made now. Raises `NonDeterministicReplayError`."""
        scope.position += 1
        label = f"{kind}:{name.replace('/', '%2F')}"
        key = _cut(scope.within(f"{label}#{scope.occurrence(label)}"))
        self._check(scope, key)
        self._slots[key] = _Slot(scope, scope.position, kind, name)
        return key

    def ask(self, key: str, arguments: str) -> Item:
        """Return the entry that a reserved call stands for: recorded, cached or new."""
        if (item := self.items.get(key)) is not None:
            return item
        slot = self._slots.pop(key)
        content = self._content(slot, arguments)
        entry = self._law.get(key)
        if entry is None:
            entry = self._cache.pop(content, None)
        elif entry.arguments and entry.arguments != content and slot.kind in {"child", "batch"}:
            self._differs(key)
        item = Item(
            key, key + self._suffix, slot.kind, slot.name, slot.scope, slot.position, content
        )
        if entry is not None:
            self._answer(item, entry)
        else:
            self._grow()
        self.items[key] = item
        self._by_wire[item.wire] = item
        return item

    def find(self, wire: str) -> Item | None:
        """Return the entry that a frame speaks of, None when the code has not asked for it yet."""
        return self._by_wire.get(wire)

    def arrived(self, wire: str, outcome: Outcome) -> None:
        """Keep the result of an entry that the code will ask for."""
        self._late[wire] = outcome

    def settled(self, item: Item) -> None:
        """Note that the code has the entry's result, or will never have it."""
        record = self._records.get(item.scope.path)
        if record is not None:
            record.undelivered.discard(item.key)

    def skipped(self, wire: str) -> None:
        """Note that the replay went on without an entry: nobody may ask for it any more."""
        key = self._natural(wire)
        self._records[_scope_of(key)].undelivered.discard(key)

    def replays(self, scope: Scope | None) -> bool:
        """Say whether a scope, or one around it, still repeats what it did before."""
        while scope is not None:
            record = self._records.get(scope.path)
            if record is not None and record.undelivered:
                return True
            scope = scope.parent
        return False

    def failed(self) -> Iterator[Item]:
        """Yield the entries whose failure the code received."""
        for item in self.items.values():
            if item.delivered and item.outcome is not None and not item.outcome.ok:
                yield item

    def _take(self, entry: Entry, *, resumed: bool) -> None:
        if not resumed or entry.attempt != self._attempt:
            if entry.arguments:
                self._cache.setdefault(entry.arguments, entry)
            return
        key = self._natural(entry.key)
        self._law[key] = entry
        record = self._records[_scope_of(key)]
        if entry.position and len(key) <= _KEPT:  # a longer one may be cut, its scope with it
            record.at[entry.position] = key
            self._places[key] = entry.position
        if entry.number is not None and not entry.abandoned:
            record.undelivered.add(key)

    def _answer(self, item: Item, entry: Entry) -> None:
        numbered = entry.number is not None and entry.number > self.base
        lawful = entry.attempt == self._attempt
        item.wire = entry.key
        item.made = True
        item.cached = not lawful and not numbered
        item.number = entry.number if numbered else None
        item.abandoned = entry.abandoned and (lawful or numbered)
        item.outcome = entry.outcome or self._late.pop(entry.key, None)
        item.triggered = entry.runs

    def _check(self, scope: Scope, key: str) -> None:
        record = self._records.get(scope.path)
        expected = record.at.get(scope.position) if record is not None else None
        place = self._places.get(key)
        if expected == key or (expected is None and place is None):
            return
        where = f"call {scope.position} of " + (scope.path or "the task")
        told = expected or f"{key} as call {place}"
        raise NonDeterministicReplayError(
            f"run {self._run} cannot be replayed: {where} was {told} when it ran before, "
            f"the code now makes it {key}; "
            "bring the old order of calls back, or finish the run with the version it began on"
        )

    def _differs(self, key: str) -> None:
        told = (
            f"run {self._run}: {key} was recorded with other arguments. Take times from ctx.now() "
            "and chance from ctx.random(), or compute them in a step"
        )
        if self._strict:
            raise NonDeterministicReplayError(told)
        logger.warning("%s; the recorded answer stands", told)

    def _grow(self) -> None:
        self._size += 1
        if self._size == _MANY_ENTRIES:
            logger.warning(
                "run %s has made %d of %d journal entries: %s",
                self._run,
                self._size,
                MAX_ENTRIES,
                _WAYS_OUT,
            )
        if self._size > MAX_ENTRIES:
            raise UsageError(
                f"run {self._run} has made its {MAX_ENTRIES:,} journal entries: {_WAYS_OUT}"
            )

    def _content(self, slot: _Slot, arguments: str) -> str:
        """Return what a call is, apart from when it is made: scope, kind, name and arguments."""
        parts = f"{slot.scope.path}\0{slot.kind}\0{slot.name}\0{arguments}"
        equal = self._equals.get(parts, 0)
        self._equals[parts] = equal + 1
        return hashlib.blake2b(f"{parts}\0{equal}".encode(), digest_size=16).hexdigest()

    def _natural(self, wire: str) -> str:
        return wire.removesuffix(self._suffix) if self._suffix else wire


def _scope_of(key: str) -> str:
    return key.rpartition("/")[0]


def _cut(key: str) -> str:
    if len(key) <= MAX_KEY:
        return key
    return f"{key[:_KEPT]}~{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}"
