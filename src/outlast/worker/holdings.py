"""The runs that a worker session holds: under which token, where, executing or parked."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from outlast.protocol.frames import Frame, Kind, frame
from outlast.protocol.manifests import ExecutorKind
from outlast.protocol.messages import Empty, Held
from outlast.worker.place import Place


class _Facts(msgspec.Struct, frozen=True):
    task: str
    attempt: int = 1
    machine: str | None = None
    max_duration: float | None = None


class Peek(msgspec.Struct, frozen=True):
    """What a worker needs of a claim; the payload stays undecoded."""

    resume: Literal["fresh", "warm", "cold"]
    executor: ExecutorKind
    facts: _Facts
    spent: float = 0.0


peeks: Final = msgspec.msgpack.Decoder(Peek)


@dataclass(eq=False, slots=True)
class Holding:
    """One run here. `claim` is kept until its executor says anything about it."""

    run: str
    token: int
    executor: ExecutorKind
    claim: Frame | None
    task: str = ""
    place: Place | None = None  # None: it waits for one
    parked: bool = False
    over: bool = False  # its executor has said how it ended, and is free for others
    moved: bool = False  # its claim was given to a second executor already
    number: int = 0  # the highest its executor used under this token
    backlog: list[Frame] = field(default_factory=list)  # what came while it had no place
    claimed_at: float = field(default_factory=time.monotonic)
    first_at: float = field(default_factory=time.monotonic)
    warm: bool = False  # the claim resumes a parked run
    attempt: int = 1
    machine: str | None = None
    max_duration: float | None = None
    spent: float = 0.0  # active seconds of the attempt before this claim
    exceeded_at: float | None = None  # when it was told that it worked too long

    @classmethod
    def of(cls, claim: Frame, peek: Peek) -> "Holding":
        """Hold the run of a claim."""
        facts = peek.facts
        return cls(
            claim.run,
            claim.token,
            peek.executor,
            claim,
            task=facts.task,
            attempt=facts.attempt,
            machine=facts.machine,
            max_duration=facts.max_duration,
            spent=peek.spent,
        )

    def drop_frame(self) -> Frame:
        """Return what tells an executor that the run is not its any more."""
        return frame(Kind.DROP, Empty(), run=self.run, token=self.token)

    def renew(self, claim: Frame, spent: float) -> None:
        """Execute again under the token of a warm claim."""
        self.spent = spent
        self.exceeded_at = None
        self.token = claim.token
        self.claim = claim
        self.parked = False
        self.warm = True
        self.number = 0
        self.claimed_at = time.monotonic()


class Holdings:
    """Every run of the session, by id."""

    def __init__(self) -> None:
        self._runs: dict[str, Holding] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Holding]:
        return iter(list(self._runs.values()))

    def get(self, run: str) -> Holding | None:
        """Return the holding of a run."""
        return self._runs.get(run)

    def exactly(self, run: str, token: int) -> Holding | None:
        """Return the holding of a run under this token and no other."""
        holding = self._runs.get(run)
        return holding if holding is not None and holding.token == token else None

    def add(self, holding: Holding) -> None:
        """Hold a run."""
        self._runs[holding.run] = holding

    def remove(self, run: str) -> None:
        """Hold a run no more."""
        self._runs.pop(run, None)

    def of(self, place: Place) -> list[Holding]:
        """Return the runs that an executor holds."""
        found = (self._runs.get(run) for run in (*place.executing, *place.parked))
        return [holding for holding in found if holding is not None and holding.place is place]

    def held(self) -> tuple[Held, ...]:
        """Return what heartbeats and hellos list."""
        return tuple(Held(each.run, each.token) for each in self._runs.values())
