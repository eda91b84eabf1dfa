"""What the frames of the worker link say: one Struct per kind of frame.

Executor to server first, then server to executor, then the session's own.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal

import msgspec

from outlast.protocol.frames import HEARTBEAT_SECONDS, LEASE_SECONDS
from outlast.protocol.manifests import Manifest
from outlast.protocol.outcomes import Outcome, RunError
from outlast.protocol.triggers import Refusal, Trigger, Triggered
from outlast.protocol.vitals import Vitals


class Empty(msgspec.Struct, frozen=True):
    """A body that says nothing more than its kind."""


class Started(msgspec.Struct, frozen=True):
    """The executor entered the user's function."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A journal entry as a cold resume or a new attempt receives it.

    `kind` is step, child, batch, trigger, wait or hook; `outcome` is None while it is open.
    `number` is its place in the order of delivery, None when it was never delivered.
    `arguments` is what a retry compares (a digest); `attempt` the attempt that made the entry.
    """

    key: str
    kind: str
    name: str
    attempt: int
    outcome: Outcome | None = None
    number: int | None = None
    position: int = 0  # order of the calls in their scope, counted by the executor
    arguments: str = ""
    preview: str = ""
    abandoned: bool = False
    runs: tuple[Triggered, ...] = ()  # what a trigger, child or batch created


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """A finished local entry to record. ACK carries `Stepped`: the recorded outcome always wins."""

    key: str
    kind: str
    name: str
    number: int
    outcome: Outcome
    position: int = 0
    arguments: str = ""
    preview: str = ""


class Stepped(msgspec.Struct, frozen=True):
    """What the journal holds for the step now."""

    outcome: Outcome


class Delivered(msgspec.Struct, frozen=True, omit_defaults=True):
    """Results the code received, in order, and entries it gave up waiting for."""

    order: tuple[tuple[str, int], ...] = ()  # (entry key, number)
    abandoned: tuple[str, ...] = ()


CallKind = Literal["child", "batch", "trigger", "wait", "token", "waitpoint", "stream", "peek"]


class NewToken(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A waitpoint token to make. It times out after `timeout` seconds, or at `timeout_at`."""

    timeout: float = 600.0
    timeout_at: float | None = None  # seconds since the epoch
    tags: tuple[str, ...] = ()
    idempotency_key: str | None = None
    idempotency_key_ttl: float | None = None


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry that the cycle makes.

    child: one item, resolves at its end. batch: all items, resolves when all ended. trigger: the
    items run on their own, the entry is finished at once; `is_batch` makes a batch of them. wait:
    until a moment (`seconds` from now by the database's clock, or `until`, seconds since the
    epoch); with an idempotency key it ends when the first wait with that key does. token: until the
    waitpoint token `target` is completed or times out. waitpoint: makes the token `new`; finished
    at once, its value is a `MadeToken`. stream: until a message on the run's input stream `target`,
    which it receives. peek: what the next message is; finished at once, and the message stays.
    `timeout` (seconds) ends the entry with a `timed_out` error; what it waits for goes on.
    """

    key: str
    kind: CallKind
    name: str
    items: tuple[Trigger, ...] = ()
    seconds: float | None = None
    until: float | None = None
    timeout: float | None = None
    position: int = 0
    arguments: str = ""
    preview: str = ""
    target: str | None = None
    new: NewToken | None = None
    idempotency_key: str | None = None
    idempotency_key_ttl: float | None = None
    is_batch: bool = False


class MadeToken(msgspec.Struct, frozen=True):
    """A waitpoint token as its maker gets it, JSON text in an outcome. `url` completes it."""

    id: str
    is_cached: bool
    url: str
    public_access_token: str


class Called(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call's entry exists. `outcome` is set when it is finished already (cached child).

    `refusal`: nothing was created; the call raises in the code.
    """

    runs: tuple[Triggered, ...] = ()
    outcome: Outcome | None = None
    refusal: Refusal | None = None


class Suspend(msgspec.Struct, frozen=True):
    """Every branch of the run waits for one of these entries."""

    keys: tuple[str, ...]


class Suspended(msgspec.Struct, frozen=True):
    """`held` false: one of the entries is finished, its RESULT is on the way; go on."""

    held: bool


class Complete(msgspec.Struct, frozen=True, omit_defaults=True):
    """The function returned; `output` is JSON text."""

    output: str | None = None


class Fail(msgspec.Struct, frozen=True, omit_defaults=True):
    """The attempt failed. `retry_in` seconds: another attempt is due; None: this was the last.

    `forgotten` are the keys of the entries whose failure ended the attempt: the next one does them
    again. Every other failure was handled by the code, and is replayed.
    """

    error: RunError
    retry_in: float | None = None
    forgotten: tuple[str, ...] = ()
    machine: str | None = None  # of the next attempt, when it needs another one


class Restart(msgspec.Struct, frozen=True, omit_defaults=True):
    """The run begins again under its id, with this payload as JSON text and an empty journal."""

    payload: str | None = None


class MetadataOperation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change of the run's metadata, at a position that counts once per attempt."""

    scope: str
    ordinal: int
    type: Literal["set", "delete", "append", "remove", "increment", "update"]
    path: tuple[str, ...] = ()  # parts of the key, see `protocol.metadata`
    value: str = "null"  # JSON text
    target: Literal["self", "parent", "root"] = "self"


LogLevel = Literal["TRACE", "DEBUG", "LOG", "INFO", "WARN", "ERROR"]


class LogLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line a run printed or logged, or the start or end of a span.

    `at` is seconds since the epoch. (scope, ordinal) is its place in the attempt, which counts
    once; the scope of what threads say begins with `!`. `span` is the span that begins or ends
    here, of a line the one around it.
    """

    at: float
    level: LogLevel
    message: str
    scope: str | None = None
    ordinal: int | None = None
    kind: Literal["line", "start", "end"] = "line"
    span: str | None = None
    parent: str | None = None
    attributes: str | None = None  # JSON object as text


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run only reports: never part of its control flow.

    `refresh` asks for the metadata as it is now; the ACK then carries `Reported`.
    """

    metadata: tuple[MetadataOperation, ...] = ()
    tags: tuple[str, ...] = ()
    logs: tuple[LogLine, ...] = ()
    refresh: bool = False


class Reported(msgspec.Struct, frozen=True, omit_defaults=True):
    """The metadata of the run after the report, as JSON text, when it was asked for."""

    metadata: str | None = None


class Facts(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What `ctx` tells the code about its run. Times are seconds since the epoch."""

    run_id: str
    task: str
    attempt: int
    max_attempts: int
    queue: str
    created_at: float
    started_at: float
    environment: str
    environment_slug: str
    project: str
    version: str
    max_duration: float | None = None
    concurrency_key: str | None = None
    idempotency_key: str | None = None
    tags: tuple[str, ...] = ()
    parent: str | None = None
    root: str | None = None
    batch: str | None = None
    is_test: bool = False
    is_replay: bool = False
    trace_context: str | None = None
    machine: str | None = None
    priority: float = 0.0
    attempt_started_at: float | None = None
    version_id: str | None = None
    project_name: str = ""
    generation: int = 1
    earlier_attempts: int = 0  # of the generations before; `attempt` counts in this one

    @property
    def attempt_of_run(self) -> int:
        """The attempt, counted over all generations: as entries and lines are stored."""
        return self.earlier_attempts + self.attempt


class Claim(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Start or resume a run here, under the frame's token.

    fresh: a new attempt (`entries` holds what earlier attempts finished: a cache found by content).
    warm: the run is parked here, `entries` are those of its suspend that are finished.
    cold: the same attempt somewhere new; `entries` is its journal, which is law.
    """

    resume: Literal["fresh", "warm", "cold"]
    facts: Facts
    executor: Literal["shared", "dedicated"]
    retry: str = ""  # RetryPolicy as JSON text, after overrides
    payload: str | None = None
    payload_type: str = "application/json"
    metadata: str = "{}"
    seed: bytes = b""  # 32 bytes: uuid4 and random of the run
    entries: tuple[Entry, ...] = ()
    positions: dict[str, int] = {}  # scope -> highest metadata operation applied in this attempt
    lines: dict[str, int] = {}  # scope -> highest log line recorded in this attempt
    chunks: dict[str, int] = {}  # scope -> highest stream chunk appended in this attempt
    spent: float = 0.0  # active seconds of this attempt before this claim
    earlier: float = 0.0  # and of the attempts before it
    cancel: str | None = None  # why it is canceled: unwind, or only run what its cancel asks for


class Result(msgspec.Struct, frozen=True):
    """An open entry of an executing run finished."""

    key: str
    outcome: Outcome


class Cancel(msgspec.Struct, frozen=True, omit_defaults=True):
    """Stop the run: unwind, then end. After `seconds` the cycle ends it and kills the process."""

    reason: str
    seconds: float = 30.0
    overtime: bool = False  # it worked longer than its max_duration; the supervisor says so


class Drop(msgspec.Struct, frozen=True, omit_defaults=True):
    """The run is not this worker's any more. `reason`: the server ended it, and why."""

    reason: str = ""


class Held(msgspec.Struct, array_like=True, frozen=True):
    """A run that a worker holds, executing or parked."""

    run: str
    token: int


def held_digest(held: Sequence[Held]) -> str:
    """Return hex blake2b-8 over the sorted `run:token` lines; both ends of the link use it."""
    lines = sorted(f"{each.run}:{each.token}\n" for each in held)
    return hashlib.blake2b("".join(lines).encode(), digest_size=8).hexdigest()


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The first frame of a socket. A session outlives its socket: its id takes its runs along."""

    protocol: int
    session: str
    name: str
    host: str
    pid: int
    manifest: Manifest
    capacity: dict[str, int]  # executor kind -> runs it can execute at once
    held: tuple[Held, ...] = ()


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """The server took the session in."""

    server: str
    environment: str
    environment_slug: str
    project: str
    version: str
    heartbeat: float = HEARTBEAT_SECONDS
    lease: float = LEASE_SECONDS
    access: str = ""  # a token with which runs call the API


class Heartbeat(msgspec.Struct, frozen=True):
    """The worker lives. `held` comes when `digest` (of sorted pairs) changed or was asked for."""

    digest: str
    held: tuple[Held, ...] | None = None
    vitals: Vitals | None = None


class Beat(msgspec.Struct, frozen=True):
    """The heartbeat is committed. `list_held` asks for the list with the next one.

    `is_away`: the database takes no heartbeats now. Nobody is declared dead meanwhile, so nobody
    has to end his runs; but nothing new starts on it.
    """

    list_held: bool = False
    is_away: bool = False
    access: str = ""  # a new token for runs, in time before the old one ends
    api_url: str = ""  # where it counts; between supervisor and executor
    variables: int | None = None  # the revision of the environment's variables


class Capacity(msgspec.Struct, frozen=True):
    """How many runs of each executor kind the worker can execute at once.

    The total, not what is free: frames that cross on the link would make the two sides count some
    runs twice. The server knows what it has claimed and what it has heard the end of.
    """

    capacity: dict[str, int]


class Goodbye(msgspec.Struct, frozen=True):
    """The sender leaves on purpose. From a server: reconnect elsewhere, nothing is lost."""

    reason: str = ""


class Crash(msgspec.Struct, frozen=True):
    """An executor died. `guilty` names the run that killed it, when that is known."""

    runs: tuple[Held, ...]
    guilty: str | None
    error: RunError
    parked: tuple[Held, ...] = ()


class Ready(msgspec.Struct, frozen=True):
    """An executor imported its tasks."""

    pid: int
