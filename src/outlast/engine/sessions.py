"""Worker sessions: who is connected here, what each holds, how many runs it can take.

The lease belongs to the session, not to runs; the session outlives its socket. What is kept in
memory here is only a picture: the truth is `run_state`, and `reconcile` brings the two together.
"""

import asyncio
import time
from collections.abc import Callable

import msgspec

from outlast.engine.claims import Place
from outlast.engine.turn import Pool
from outlast.protocol.frames import EMPTY, Frame, Kind, body
from outlast.protocol.messages import Drop, Held, held_digest

Deliver = Callable[[list[Frame]], None]
_MOST_SLOTS = 500
_COMPANY_SECONDS = 0.01


class Holding(msgspec.Struct):
    """A run that a session executes, with what its calls need to know of it."""

    token: int
    executor: str
    task: str
    root: str | None
    depth: int
    attempt: int
    retry: str  # RetryPolicy as JSON
    machine: str | None = None
    earlier_attempts: int = 0
    since: float = msgspec.field(default_factory=time.monotonic)
    """When this server took it into its picture, by the machine's clock."""


class Session:
    """One worker connected to this server."""

    def __init__(
        self,
        *,
        session_id: str,
        version_id: str,
        version_name: str,
        place: Place,
        capacity: dict[str, int],
        deliver: Deliver,
    ) -> None:
        self.id = session_id
        self.version_id = version_id
        self.version_name = version_name
        self.place = place
        self.executing: dict[str, Holding] = {}
        self.parked: dict[str, int] = {}
        self.mismatches = 0
        self._deliver = deliver
        self._soon: list[Frame] = []
        self._capacity: dict[str, int] = {}
        self._busy: dict[str, int] = {}
        self.set_capacity(capacity)

    def deliver(self, frames: list[Frame]) -> None:
        """Send frames to the worker, after those that waited for company."""
        if self._soon:
            frames, self._soon = self._soon + frames, []
        self._deliver(frames)

    def deliver_soon(self, message: Frame) -> None:
        """Send a frame with the next ones, or in a moment: each message has a price."""
        if not self._soon:
            asyncio.get_running_loop().call_later(_COMPANY_SECONDS, self._send_soon)
        self._soon.append(message)

    def _send_soon(self) -> None:
        if self._soon:
            self.deliver([])

    def set_capacity(self, capacity: dict[str, int]) -> None:
        """Hear how many runs of each executor kind the worker can execute at once."""
        self._capacity = dict(capacity)

    def free(self, executor: str) -> int:
        """Return how many more runs of a kind of executor may be claimed for it."""
        return self._capacity.get(executor, 0) - self._busy.get(executor, 0)

    def hold(self, run: str, holding: Holding) -> None:
        """Hear that a run was claimed for the worker."""
        before = self.executing.get(run)
        if before is not None:
            self.release(run, before.token)
        self.parked.pop(run, None)
        self.executing[run] = holding
        self._busy[holding.executor] = self._busy.get(holding.executor, 0) + 1

    def inherit(self, before: "Session") -> None:
        """Go on with what an earlier socket of the same worker was told."""
        self.executing, self.parked = before.executing, before.parked
        self._busy = before._busy  # noqa: SLF001 - what the old socket still applies counts here

    def executors(self) -> list[str]:
        """Return the kinds of executors it has."""
        return list(self._capacity)

    def release(self, run: str, token: int) -> None:
        """Hear that the worker is done with a run: ended, suspended or handed back."""
        holding = self.executing.get(run)
        if holding is not None and holding.token == token:
            del self.executing[run]
            self._busy[holding.executor] -= 1
        if self.parked.get(run) == token:
            del self.parked[run]

    def park(self, run: str, token: int) -> None:
        """Hear that a run is suspended and its coroutine parked."""
        self.release(run, token)
        self.parked[run] = token

    def expects(self, run: str, token: int, seconds: float) -> bool:
        """Say whether a claim was told so lately that the worker may not have listed it yet."""
        holding = self.executing.get(run)
        if holding is None or holding.token != token:
            return False
        return time.monotonic() - holding.since < seconds

    def digest(self) -> str:
        """Return the digest of held runs that the worker's heartbeat is compared with."""
        return held_digest(self.held())

    def held(self) -> list[Held]:
        """Return what this server believes the worker holds."""
        executing = [Held(run, holding.token) for run, holding in self.executing.items()]
        return executing + [Held(run, token) for run, token in self.parked.items()]


class Sessions:
    """The sessions connected to this server, by id and by environment."""

    def __init__(self) -> None:
        self._all: dict[str, Session] = {}
        self._by_environment: dict[str, dict[str, Session]] = {}
        self.current: dict[str, str | None] = {}

    def __contains__(self, session: str) -> bool:
        return session in self._all

    def get(self, session: str | None) -> Session | None:
        """Return a session connected here, or None."""
        return self._all.get(session) if session is not None else None

    def ids(self) -> list[str]:
        """Return the ids of all sessions connected here."""
        return list(self._all)

    def environments(self) -> list[str]:
        """Return the environments that have a worker connected here."""
        return [environment for environment, there in self._by_environment.items() if there]

    def of(self, environment: str) -> list[Session]:
        """Return the sessions of an environment."""
        return list(self._by_environment.get(environment, {}).values())

    def add(self, session: Session) -> None:
        """Take a session in, in place of an earlier socket of the same worker."""
        self._all[session.id] = session
        self._by_environment.setdefault(session.place.environment, {})[session.id] = session

    def remove(self, session: Session) -> None:
        """Forget a session, unless another socket of the same worker has taken its place."""
        if self._all.get(session.id) is session:
            del self._all[session.id]
            self._by_environment[session.place.environment].pop(session.id, None)

    def pools(self, environment: str) -> tuple[list[Pool], list[str]]:
        """Return the free slots of an environment's workers by pool, and who may park runs."""
        free: dict[tuple[str, str], dict[str, int]] = {}
        sessions = self.of(environment)
        for session in sessions:
            for executor in session.executors():
                count = min(session.free(executor), _MOST_SLOTS)
                if count > 0:
                    free.setdefault((session.version_id, executor), {})[session.id] = count
        current = self.current.get(environment)
        pools = [
            Pool(_routes(version, executor, current), tuple(counts), tuple(counts.values()))
            for (version, executor), counts in free.items()
        ]
        return pools, [session.id for session in sessions]


def _routes(version: str, executor: str, current: str | None) -> tuple[str, ...]:
    own = f"{version}/{executor}"
    return (own, f"current/{executor}") if version == current else (own,)


def drop(run: str, token: int, reason: str | None = None) -> Frame:
    """Return the frame that tells a worker that a run is not its own any more."""
    told = body(Drop(reason)) if reason else EMPTY
    return Frame(Kind.DROP, run, token, 0, told)
