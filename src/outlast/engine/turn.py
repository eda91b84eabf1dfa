"""A turn: what one environment's cycle asks of PostgreSQL in one round trip, and what it is told.

The Structs mirror the SQL types of `sql/functions/01_types.sql`; a test compares their fields.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from outlast.engine.database import Executor
from outlast.engine.queries import load

TURN = load("turn")


class NewRun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run to create: resolved, checked, with its id. Durations in seconds."""

    run: str
    task: str
    queue: str
    executor: str
    route: str  # `current/<executor>`, or the pinned version's id instead of `current`
    payload_type: str
    trigger_function: str
    retry: str  # RetryPolicy as JSON, max_attempts already overridden
    seed: str  # 32 random bytes as hex
    n: int | None = None
    call: int | None = None
    item: int | None = None
    concurrency_key: str | None = None
    payload: str | None = None
    payload_blob: str | None = None
    metadata: str | None = None
    tags: tuple[str, ...] = ()
    parent: str | None = None
    root: str | None = None
    depth: int = 0
    batch: str | None = None
    idempotency_key: str | None = None
    idempotency_shown: str | None = None
    idempotency_scope: str | None = None
    idempotency_ttl: float | None = None
    request_key: str | None = None
    delay: float | None = None
    delay_until: float | None = None
    ttl: float | None = None
    priority: float = 0.0
    max_duration: float | None = None
    machine: str | None = None
    version_pin: str | None = None
    is_test: bool = False
    replayed_from: str | None = None
    schedule: str | None = None
    trace_context: str | None = None
    fairness_group: str | None = None
    parked: bool = False  # no version declares its task and queue yet
    debounce_key: str | None = None
    debounce_delay: float | None = None
    debounce_most: float | None = None
    debounce_trailing: bool = False
    spend: str | None = None  # SHA-256 of the one-time token that it uses up, as hex
    spend_until: float | None = None  # when that expires
    retried: bool = False  # the turn runs again after a lost connection: it may exist already


class NewCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry that a task makes: a child, batch, trigger or wait. `size` counts its items.

    `target` is the waitpoint token that a wait is for; the idempotency key is a wait's.
    """

    run: str
    token: int
    key: str
    kind: str
    name: str
    attempt: int
    n: int | None = None
    position: int = 0
    arguments: str = ""
    preview: str = ""
    seconds: float | None = None
    until: float | None = None
    timeout: float | None = None
    batch: str | None = None
    size: int = 0
    tasks: tuple[str, ...] | None = None  # of the items, where they are not all the same
    outcome: str | None = None  # set when it is refused: finished at once
    refusals: str = "{}"  # item -> Refusal, as JSON
    target: str | None = None
    idempotency_key: str | None = None
    idempotency_ttl: float | None = None


class NewWaitpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One waitpoint token to make, with its id; ends in `timeout` seconds or at `timeout_at`.

    That end is a time-out, or completes it.
    """

    waitpoint: str
    request_key: str
    callback_hash: str  # hex
    callback_sealed: str  # hex
    n: int | None = None
    tags: tuple[str, ...] = ()
    idempotency_key: str | None = None
    idempotency_ttl: float | None = None
    timeout: float | None = None
    timeout_at: float | None = None
    completes: bool = False


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """A waitpoint token that somebody completes; `output` is JSON text."""

    waitpoint: str
    output: str | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A stored message for an input stream of a run, by its id."""

    run: str
    key: str
    message: str


class Ending(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an attempt ended, as its executor tells."""

    run: str
    token: int
    status: str
    output: str | None = None
    error: str | None = None
    retry_in: float | None = None
    forget: tuple[str, ...] = ()
    machine: str | None = None  # of the next attempt, when it needs another one


class Suspension(msgspec.Struct, frozen=True, kw_only=True):
    """A run whose every branch waits for one of these entries."""

    run: str
    token: int
    keys: tuple[str, ...]


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """A run under a lease token."""

    run: str
    token: int


class Cancellation(msgspec.Struct, frozen=True, kw_only=True):
    """A run to cancel, with all it triggered."""

    run: str
    reason: str = ""


class Called(msgspec.Struct, frozen=True, kw_only=True):
    """A call with the runs it creates: they stand or fall together."""

    call: NewCall
    runs: tuple[NewRun, ...] = ()


class Resumption(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is parked because it could not replay, to be tried again."""

    run: str


class Rescheduling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A delayed run that is to start at another moment: in `delay` seconds, or at `delay_until`."""

    run: str
    delay: float | None = None
    delay_until: float | None = None


class Arrival(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A parked run whose task and queue a version declares now, resolved against it."""

    run: str
    queue: str
    executor: str
    retry: str
    ttl: float | None = None
    max_duration: float | None = None


class Freeing(msgspec.Struct, frozen=True, kw_only=True):
    """A version that nobody offers: what is pinned to it goes on with the current one."""

    version: str


class Overtime(Holding, frozen=True, kw_only=True):
    """A run that worked longer than its max_duration."""


class Rescue(Holding, frozen=True, kw_only=True):
    """A run whose executor is gone. `suspect` names the crash, when nobody knows who is guilty."""

    suspect: str | None = None


class Gone(Holding, frozen=True, kw_only=True):
    """A run that is no longer where it was, and nobody is to blame: parked, or handed back."""


class GivenUp(Holding, frozen=True, kw_only=True):
    """Waits for messages that the code gave up: what they received goes to others."""

    keys: tuple[str, ...]


class Start(Holding, frozen=True, kw_only=True):
    """A run whose function was entered."""


class Wake(Holding, frozen=True, kw_only=True):
    """A parked run that goes on by itself."""


class Restarting(Holding, frozen=True, kw_only=True, omit_defaults=True):
    """A run whose next generation begins, with this payload as JSON text, or in a blob."""

    payload: str | None = None
    payload_blob: str | None = None


Item = (
    Ending | Restarting | Suspension | Wake | Rescue | Gone | Start | Cancellation | Resumption
    | Rescheduling | NewWaitpoint | Completion | Message | GivenUp | Arrival | Freeing | Overtime
    | Called | NewRun
)  # fmt: skip


class Pool(msgspec.Struct, frozen=True):
    """Equal sessions with their free slots, and the routes that they may claim."""

    routes: tuple[str, ...]
    sessions: tuple[str, ...]
    free: tuple[int, ...]


class Told(msgspec.Struct, frozen=True):
    """What a turn told the workers, with the runs that it made: who claims them knows them."""

    tellings: Sequence["Telling"]
    made: Mapping[str, NewRun] = {}
    moment: float = 0.0


class Telling(msgspec.Struct, frozen=True):
    """One thing that a turn tells."""

    kind: Literal[
        "created", "called", "stale", "held", "result", "cancel", "drop", "claim", "ended",
        "due", "left", "more", "moment", "missed",
    ]  # fmt: skip
    n: int
    run: str | None
    token: int
    session: str | None
    data: str | None

    @property
    def resume(self) -> str:
        """How a claimed run begins: fresh, warm or cold."""
        return (self.data or "").partition(" ")[0]

    @property
    def executor(self) -> str:
        """The kind of executor that a claimed run takes up."""
        return (self.data or "").partition(" ")[2]


MISSED = Telling("missed", 0, None, 0, None, None)
"""Said by the server itself: a turn committed, and what it told was lost with the connection."""


_RARE: dict[type[Item], str] = {
    Restarting: "restarts",
    Rescue: "rescues",
    Gone: "gones",
    Cancellation: "cancels",
    Resumption: "resumes",
    Rescheduling: "reschedules",
    NewWaitpoint: "waitpoints",
    Completion: "completions",
    Message: "messages",
    GivenUp: "given_up",
    Arrival: "arrivals",
    Freeing: "frees",
    Overtime: "overtimes",
}
_encoder = msgspec.json.Encoder()


async def play(
    executor: Executor,
    environment: str,
    items: Sequence[Item],
    *,
    pools: Sequence[Pool],
    homes: Sequence[str],
    server: str,
    clock: object,
) -> list[Telling]:
    """Play one turn. An item's place in `items` is the `n` of the tellings that answer it."""
    calls, runs = _calls_and_runs(items)
    kinds: dict[type[Item], list[Item]] = {}
    for item in items:
        kinds.setdefault(type(item), []).append(item)
    return await executor.fetch_exact(
        Telling,
        TURN.play,
        environment=environment,
        clock=clock,
        ends=_json(kinds.get(Ending)),
        suspends=_numbered(items) if Suspension in kinds else None,
        wakes=_json(kinds.get(Wake)),
        starts=_json(_still_executing(kinds)),
        calls=calls,
        runs=runs,
        others=_others(items) if not kinds.keys().isdisjoint(_RARE) else None,
        pools=_encoder.encode(pools).decode() if pools else "[]",
        homes=list(homes),
        server=server,
    )


def _others(items: Sequence[Item]) -> str:
    """Return the kinds that few turns hold as one object: an array by name, each with its `n`."""
    found: dict[str, list[msgspec.Raw]] = {}
    for n, item in enumerate(items):
        name = _RARE.get(type(item))
        if name is not None:
            found.setdefault(name, []).append(msgspec.Raw(_with(b'"n":%d' % n, item)))
    return _encoder.encode(found).decode()


def _still_executing(kinds: dict[type[Item], list[Item]]) -> list[Item]:
    """Return the starts of runs that do not end in the same turn: nobody would see the others."""
    ended = {(item.run, item.token) for item in kinds.get(Ending, ()) if isinstance(item, Ending)}
    starts = (item for item in kinds.get(Start, ()) if isinstance(item, Start))
    return [start for start in starts if (start.run, start.token) not in ended]


def _json(items: Sequence[Item] | None) -> str | None:
    return _encoder.encode(items).decode() if items else None


def _numbered(items: Sequence[Item]) -> str | None:
    return _array(
        [_with(b'"n":%d' % n, item) for n, item in enumerate(items) if type(item) is Suspension]
    )


def _calls_and_runs(items: Sequence[Item]) -> tuple[str | None, str | None]:
    calls: list[bytes] = []
    runs: list[bytes] = []
    extra = len(items)  # answer slots of runs that belong to calls lie behind all others
    for n, item in enumerate(items):
        if type(item) is NewRun:
            runs.append(_with(b'"n":%d' % n, item))
        elif type(item) is Called:
            calls.append(_with(b'"n":%d' % n, item.call))
            for run in item.runs:
                runs.append(_with(b'"n":%d,"call":%d' % (extra, n), run))
                extra += 1
    return _array(calls), _array(runs)


def _with(numbers: bytes, item: NewRun | NewCall | Item) -> bytes:
    """Return an item as JSON with its numbers in front: a copy of the Struct would cost more."""
    return b"{%b,%b" % (numbers, _encoder.encode(item)[1:])


def _array(encoded: list[bytes]) -> str | None:
    return f"[{b','.join(encoded).decode()}]" if encoded else None
