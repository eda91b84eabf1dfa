"""Where `ctx` takes ids, chance and time from, so that a replay gets the same."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from outlast.protocol.messages import Step
from outlast.protocol.outcomes import Outcome
from outlast.sdk.runtime import EntryKind
from outlast.sdk.signals import CancelSignal
from outlast.worker import seeds
from outlast.worker.journal import Journal
from outlast.worker.scopes import Scope


class Caller(Protocol):
    """A run, as its context needs it."""

    @property
    def seed(self) -> bytes:
        """The run's secret seed."""

    @property
    def attempt(self) -> int:
        """The attempt, counted from 1."""

    @property
    def journal(self) -> Journal:
        """The entries of the run."""

    @property
    def signal(self) -> CancelSignal:
        """Set when the run is to stop."""

    def on_cancel(self, function: Callable[..., Any]) -> None:
        """Register what is to happen after a cancel."""

    def here(self) -> Scope:
        """Return the scope of the code that calls."""

    def body(self) -> tuple[Scope, str] | None:
        """Return scope and key of the step whose body calls, if one does."""

    def reserve(self, kind: EntryKind, name: str) -> str:
        """Return the key of a call."""

    def note(self, step: Step) -> None:
        """Record an entry that nobody waits for, before whatever the run says next."""


class RunSource:
    """Ids, chance and time of one run."""

    def __init__(self, run: Caller, clock: Callable[[], float]) -> None:
        self._run = run
        self._clock = clock

    def uuid4(self) -> UUID:
        """Return the next id."""
        return seeds.uuid4(self._run.seed, self._place("uuid4"))

    def random(self) -> float:
        """Return the next number in [0, 1)."""
        return seeds.random(self._run.seed, self._place("random"))

    def now(self) -> datetime:
        """Return the time of the call; a replay reads it from the journal."""
        moment = self._clock()
        if self._run.body() is None:
            moment = self._recorded(lambda: moment)
        return datetime.fromtimestamp(moment, UTC)

    def step_token(self) -> str | None:
        """Return the token of the step that is executing, None outside a step."""
        body = self._run.body()
        if body is None:
            return None
        item = self._run.journal.items.get(body[1])
        return seeds.step_token(self._run.seed, item.content if item is not None else body[1])

    @property
    def signal(self) -> CancelSignal:
        """Set when the run is to stop."""
        return self._run.signal

    def on_cancel(self, function: Callable[..., Any]) -> None:
        """Register what is to happen after a cancel."""
        self._run.on_cancel(function)

    def _place(self, purpose: str) -> str:
        scope = self._run.here()
        return scope.within(f"{purpose}#{scope.occurrence(purpose)}")

    def _recorded(self, measure: Callable[[], float]) -> float:
        journal = self._run.journal
        key = self._run.reserve("hook", "now")
        # A new attempt lives later: its times are its own.
        item = journal.ask(key, f"attempt {self._run.attempt}")
        if item.outcome is None or item.outcome.value is None:
            item.made = True
            item.outcome = Outcome(ok=True, value=repr(measure()))
            self._run.note(
                Step(item.wire, "hook", "now", 0, item.outcome, item.position, item.content)
            )
        journal.settled(item)
        assert item.outcome.value is not None
        return float(item.outcome.value)
