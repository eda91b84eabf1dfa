"""A run without a worker: remembers what its code asked for, answers as a test tells it to."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from outlast.protocol.messages import Call, Facts, LogLevel, MetadataOperation
from outlast.protocol.outcomes import Outcome
from outlast.protocol.triggers import Triggered
from outlast.sdk.context import Context
from outlast.sdk.runtime import EntryKind, Words
from outlast.sdk.signals import CancelSignal

FACTS = Facts(
    run_id="run_1",
    task="parent",
    attempt=2,
    max_attempts=3,
    queue="task/parent",
    created_at=1_000.0,
    started_at=2_000.0,
    environment="env_1",
    environment_slug="dev",
    project="proj_1",
    version="v1",
    max_duration=3_600.0,
    tags=("a",),
)


class FakeRuntime:
    """Implements `outlast.sdk.runtime.Runtime`. Its journal is a dict."""

    def __init__(self) -> None:
        self.context = Context.of(FACTS, self)
        self.reserved: list[str] = []
        self.calls: list[Call] = []
        self.journal: dict[str, Outcome] = {}
        self.operations: list[MetadataOperation] = []
        self.tags: list[str] = []
        self.stores: list[bool] = []
        self.words: list[Words] = []
        self.chunks: list[tuple[str, str, str, bool]] = []
        self.appends: list[int] = []
        self.echoed: list[str] = []
        self.answers: dict[str, Outcome] = {}  # by name of the call
        self.made: Callable[[Call], tuple[Triggered, ...]] = lambda call: tuple(
            Triggered(run_id=f"run_child_{number}") for number in range(len(call.items))
        )
        self._step: str | None = None
        self.local_values: dict[object, Any] = {}
        self.kept: list[object] = []
        self.signal = CancelSignal()
        self.cancel_hooks: list[Callable[..., Any]] = []

    def reserve(self, kind: EntryKind, name: str) -> str:
        key = (
            f"{kind}:{name}#{sum(1 for key in self.reserved if key.startswith(f'{kind}:{name}#'))}"
        )
        self.reserved.append(key)
        return key

    async def trigger(self, call: Call) -> tuple[Triggered, ...]:
        return self.trigger_sync(call)

    def trigger_sync(self, call: Call) -> tuple[Triggered, ...]:
        self.calls.append(call)
        return self.made(call)

    async def resolve(self, call: Call) -> Outcome:
        return self.resolve_sync(call)

    def resolve_sync(self, call: Call) -> Outcome:
        self.calls.append(call)
        return self.answers.get(call.name, Outcome(ok=True))

    async def recall(self, key: str, kind: EntryKind, name: str, arguments: str) -> Outcome | None:
        return self.journal.get(key)

    def recall_sync(self, key: str, kind: EntryKind, name: str, arguments: str) -> Outcome | None:
        return self.journal.get(key)

    async def record(
        self, key: str, kind: EntryKind, name: str, arguments: str, outcome: Outcome
    ) -> Outcome:
        return self.record_sync(key, kind, name, arguments, outcome)

    def record_sync(
        self, key: str, kind: EntryKind, name: str, arguments: str, outcome: Outcome
    ) -> Outcome:
        stored = msgspec.json.decode(msgspec.json.encode(outcome), type=Outcome)
        return self.journal.setdefault(key, stored)

    async def in_thread(self, call: Callable[[], object]) -> object:
        return await asyncio.to_thread(call)

    def step(self, key: str) -> AbstractContextManager[None]:
        return self._entered(key)

    @contextmanager
    def _entered(self, key: str) -> Iterator[None]:
        self._step = key
        try:
            yield
        finally:
            self._step = None

    def metadata(self) -> dict[str, object]:
        return {
            ".".join(operation.path): msgspec.json.decode(operation.value)
            for operation in self.operations
        }

    def operate(self, make: Callable[[str, int], MetadataOperation]) -> None:
        self.operations.append(make("", len(self.operations)))

    async def store(self, *, refresh: bool = False) -> None:
        self.stores.append(refresh)

    def store_sync(self, *, refresh: bool = False) -> None:
        self.stores.append(refresh)

    def append(self, key: str, data: str, *, target: str, writer: str | None) -> None:
        self.chunks.append((key, data, target, writer is not None))

    async def appended(self, most: int = 0) -> None:
        self.appends.append(most)

    def appended_sync(self, most: int = 0) -> None:
        self.appends.append(most)

    def logs(self, level: LogLevel) -> bool:
        return level != "DEBUG"

    def say(self, words: Words) -> bool:
        self.words.append(words)
        return True

    def begin(self, words: Words) -> str:
        self.words.append(words)
        return f"span_{len(self.words)}"

    def echo(self, line: str) -> None:
        self.echoed.append(line)

    def tag(self, tags: tuple[str, ...]) -> None:
        self.tags.extend(tags)

    def keep(self, work: object) -> None:
        self.kept.append(work)

    def active_seconds(self) -> tuple[float, float]:
        return 1.0, 2.0

    def on_cancel(self, function: Callable[..., Any]) -> None:
        self.cancel_hooks.append(function)

    def uuid4(self) -> UUID:
        return UUID(int=4)

    def random(self) -> float:
        return 0.5

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def step_token(self) -> str | None:
        return None if self._step is None else f"token-of-{self._step}"
