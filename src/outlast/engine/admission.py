"""Taking triggers in: what was asked for becomes a run that the cycle can create, or a 'no'.

Everything that could fail a statement later, or name something unknown, is refused here, item by
item: one bad trigger never fails the others.
"""

import difflib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import msgspec

from outlast.engine.catalogue import Catalogue, Offer
from outlast.engine.database import Database
from outlast.engine.expiring import Expiring
from outlast.engine.payloads import TYPES, Unfit, check_metadata, check_payload, encode
from outlast.engine.queries import load
from outlast.engine.schemas import PayloadCheck, compile_schema
from outlast.engine.tenancy import Environment
from outlast.engine.turn import NewRun
from outlast.protocol.ids import new_id
from outlast.protocol.machines import PRESETS
from outlast.protocol.manifests import (
    LEAST_DURATION,
    MAX_ATTEMPTS,
    MOST_DURATION,
    RetryPolicy,
    TaskManifest,
)
from outlast.protocol.triggers import Refusal, Trigger

ADMISSION = load("admission")

INLINE_BYTES = 8 * 1024
"""Larger payloads are written to `blob` before the turn."""
MAX_TAGS = 10
MAX_TAG_CHARS = 128
MAX_KEY_CHARS = 512
MAX_KEY_BYTES = 1_200
"""Keys stand in indexes beside other names; a row there holds 2,704 bytes."""
MAX_SHOWN_CHARS = 2_048
KEY_TTL_SECONDS = 30 * 86_400.0
DEV_TTL_SECONDS = 600.0
_MAX_SECONDS = 10 * 365 * 86_400.0
_MAX_EPOCH = 253_402_300_799.0  # the end of the year 9999
_SEED_BYTES = 32
_MOST_COMPARED = 2_000
_CHECK_SECONDS = 600.0
_CHECKS = 1_000
_SCOPES = frozenset({"run", "attempt", "global"})

_retries = msgspec.json.Encoder()


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where triggers come from: a caller outside, or a task with its place in the family."""

    trigger_function: str = "trigger"
    parent: str | None = None
    root: str | None = None
    depth: int = 0
    batch: str | None = None
    replayed_from: str | None = None
    version: str | None = None
    """Name of the version that children run on unless they say otherwise."""


class Admission:
    """Checks triggers against the catalogue and the limits."""

    def __init__(
        self, database: Database, catalogue: Catalogue, milliseconds: Callable[[], int]
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._milliseconds = milliseconds
        self._checks: Expiring[tuple[str, str], tuple[PayloadCheck | None]] = Expiring(
            _CHECK_SECONDS, _CHECKS
        )

    async def admit(
        self,
        environment: Environment,
        triggers: Sequence[Trigger],
        origin: Origin | None = None,
    ) -> list[NewRun | Refusal]:
        """Return one answer per trigger, in order. Large payloads are stored when it returns."""
        origin = origin or Origin()
        answers: list[NewRun | Refusal] = []
        for trigger in triggers:
            try:
                answers.append(await self._admit(environment, trigger, origin))
            except Unfit as unfit:
                answers.append(unfit.refusal)
        return await self._store_large(environment, answers)

    async def _admit(self, environment: Environment, trigger: Trigger, origin: Origin) -> NewRun:
        check_limits(trigger)
        wanted = trigger.version or origin.version
        pinned = wanted if environment.pins_versions or trigger.version else None
        offer = self._catalogue.known(environment.id, pinned)
        task = offer.tasks.get(trigger.task) if offer is not None else None
        if offer is None or task is None:
            offer, task = await self._resolve(environment, trigger.task, pinned)
        if trigger.payload is not None:
            self._check_payload(offer, task, trigger)
        queue = trigger.queue or task.queue
        if queue != task.queue:
            await self._require_queue(environment, queue)
        machine = trigger.machine or task.machine
        executor = "dedicated" if machine else task.executor
        return NewRun(
            run=new_id("run", self._milliseconds()),
            task=task.id,
            queue=queue,
            executor=executor,
            route=f"{offer.version.id if pinned else 'current'}/{executor}",
            payload=trigger.payload,
            payload_type=trigger.payload_type,
            trigger_function=origin.trigger_function,
            retry=_retry(task, trigger),
            seed=os.urandom(_SEED_BYTES).hex(),
            concurrency_key=trigger.concurrency_key,
            metadata=trigger.metadata,
            tags=tuple(dict.fromkeys(trigger.tags)) if trigger.tags else (),
            parent=origin.parent,
            root=origin.root,
            depth=origin.depth,
            batch=origin.batch,
            idempotency_key=trigger.idempotency_key,
            idempotency_shown=trigger.idempotency_key_shown,
            idempotency_scope=trigger.idempotency_scope,
            idempotency_ttl=_key_ttl(trigger),
            request_key=_request_key(trigger),
            delay=trigger.delay,
            delay_until=trigger.delay_until,
            ttl=_ttl(environment, task, trigger),
            priority=trigger.priority,
            max_duration=_max_duration(task, trigger),
            machine=machine,
            version_pin=offer.version.id if pinned else None,
            is_test=trigger.is_test,
            replayed_from=origin.replayed_from,
            trace_context=trigger.trace_context,
        )

    async def _resolve(
        self, environment: Environment, task_id: str, version: str | None
    ) -> tuple[Offer, TaskManifest]:
        """Return the version and task; what the cache does not know is read again first."""
        offer: Offer | None = None
        for fresh in (False, True):
            offer = await self._catalogue.offer(environment.id, version, fresh=fresh)
            if offer is not None and task_id in offer.tasks:
                return offer, offer.tasks[task_id]
        if offer is None and version is not None:
            raise Unfit(
                Refusal(404, "unknown_version", f"there is no version {version!r}", "version")
            )
        raise Unfit(_unknown_task(task_id, offer))

    async def _require_queue(self, environment: Environment, name: str) -> None:
        for fresh in (False, True):
            if await self._catalogue.has_queue(environment.id, name, fresh=fresh):
                return
        names = [queue.name for queue in await self._catalogue.queues(environment.id)]
        raise Unfit(
            Refusal(
                422,
                "unknown_queue",
                f"there is no queue {name!r}; declare it in code{_nearest(name, names)}",
                "queue",
            )
        )

    def _check_payload(self, offer: Offer, task: TaskManifest, trigger: Trigger) -> None:
        value = check_payload(trigger.payload or "", trigger.payload_type)
        key = (offer.version.id, task.id)
        known = self._checks.get(key)
        if known is None:
            known = (compile_schema(task.id, task.payload_schema),)
            self._checks.put(key, known)
        problem = known[0].problem(value) if known[0] is not None else None
        if problem is not None:
            raise Unfit(
                Refusal(
                    422,
                    "payload_mismatch",
                    f"the payload does not fit task {task.id!r} of version {offer.version.name} "
                    f"at {problem}",
                    "payload",
                )
            )

    async def _store_large(
        self, environment: Environment, answers: list[NewRun | Refusal]
    ) -> list[NewRun | Refusal]:
        """Move payloads that a turn should not carry into `blob`."""
        moved = {
            number: answer
            for number, answer in enumerate(answers)
            if isinstance(answer, NewRun)
            and answer.payload is not None
            and _is_large(answer.payload)
        }
        if not moved:
            return answers
        await self._database.execute(
            ADMISSION.insert_blobs,
            environment_id=environment.id,
            ids=[_blob_id(answer) for answer in moved.values()],
            data=[answer.payload for answer in moved.values()],
        )
        return [
            msgspec.structs.replace(
                moved[number], payload=None, payload_blob=_blob_id(moved[number])
            )
            if number in moved
            else answer
            for number, answer in enumerate(answers)
        ]


def check_limits(trigger: Trigger) -> None:
    """Hold a trigger to every limit that needs no look-up. Raises `Unfit`."""
    _check_texts(trigger)
    _check_numbers(trigger)
    if trigger.payload_type not in TYPES:
        raise _unfit("payloadType", f"{trigger.payload_type[:80]!r} is not a known payload type")
    if trigger.machine is not None and trigger.machine not in PRESETS:
        raise _unfit("machine", f"machine must be one of {', '.join(PRESETS)}")
    if trigger.idempotency_scope is not None and trigger.idempotency_scope not in _SCOPES:
        raise _unfit("idempotencyScope", "idempotency scope must be run, attempt or global")
    if trigger.tags:
        _check_tags(trigger.tags)
    if trigger.metadata is not None:
        check_metadata(trigger.metadata)


def _check_tags(given: Sequence[str]) -> None:
    tags = dict.fromkeys(given)
    if len(tags) > MAX_TAGS:
        raise _unfit("tags", f"a run has at most {MAX_TAGS} tags, {len(tags)} were given")
    for tag in tags:
        _check_text("tags", tag, MAX_TAG_CHARS)


def _check_texts(trigger: Trigger) -> None:
    """Check what is given, which is little as a rule; a table would cost more than the checks."""
    _check_text("task", trigger.task, MAX_KEY_CHARS)
    if trigger.queue is not None:
        _check_text("queue", trigger.queue, 200)
    if trigger.concurrency_key is not None:
        _check_text("concurrencyKey", trigger.concurrency_key, MAX_KEY_CHARS)
    if trigger.idempotency_key is not None:
        _check_text("idempotencyKey", trigger.idempotency_key, MAX_KEY_CHARS)
    if trigger.idempotency_key_shown is not None:
        _check_text("idempotencyKeyOptions", trigger.idempotency_key_shown, MAX_SHOWN_CHARS)
    if trigger.request_key is not None:
        _check_text("requestKey", trigger.request_key, MAX_KEY_CHARS)
    if trigger.version is not None:
        _check_text("version", trigger.version, 200)
    if trigger.trace_context is not None:
        _check_text("traceContext", trigger.trace_context, MAX_SHOWN_CHARS)


def _check_text(param: str, text: str, longest: int) -> None:
    if not 0 < len(text) <= longest:
        raise _unfit(param, f"{param} has 1 to {longest} characters, not {len(text)}")
    data = encode(text, param)
    if longest <= MAX_KEY_CHARS and len(data) > MAX_KEY_BYTES:
        raise _unfit(param, f"{param} has at most {MAX_KEY_BYTES} bytes, not {len(data)}")


def _check_numbers(trigger: Trigger) -> None:
    if trigger.delay is not None:
        _check_number("delay", trigger.delay, _MAX_SECONDS)
    if trigger.delay_until is not None:
        _check_number("delay", trigger.delay_until, _MAX_EPOCH)
    if trigger.ttl is not None:
        _check_number("ttl", trigger.ttl, _MAX_SECONDS)
    if trigger.idempotency_key_ttl is not None:
        _check_number("idempotencyKeyTTL", trigger.idempotency_key_ttl, _MAX_SECONDS)
    if trigger.priority:
        _check_number("priority", trigger.priority, _MAX_SECONDS)
    if trigger.max_duration is not None:
        _check_number("maxDuration", trigger.max_duration, _MAX_SECONDS)
    if trigger.max_attempts is not None:
        _check_number("maxAttempts", trigger.max_attempts, MAX_ATTEMPTS, least=1)


def _check_number(param: str, number: float, most: float, *, least: float = 0.0) -> None:
    if not (math.isfinite(number) and least <= number <= most):
        raise _unfit(param, f"{param} must be between {least:,.0f} and {most:,.0f}")


def _unfit(param: str, message: str) -> Unfit:
    return Unfit(Refusal(422, "invalid_option", message, param))


def _unknown_task(task_id: str, offer: Offer | None) -> Refusal:
    if offer is None:
        message = (
            f"there is no task {task_id!r}: no worker has registered tasks in this environment yet"
        )
    else:
        message = (
            f"there is no task {task_id!r} in version {offer.version.name}"
            f"{_nearest(task_id, offer.tasks)}"
        )
    return Refusal(404, "unknown_task", message, "task")


def _nearest(name: str, names: "Mapping[str, object] | Sequence[str]") -> str:
    close = difflib.get_close_matches(name[:100], list(names)[:_MOST_COMPARED], n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _retry(task: TaskManifest, trigger: Trigger) -> str:
    if trigger.max_attempts is None:
        return _retry_text(task.retry)
    policy = msgspec.structs.replace(task.retry, max_attempts=trigger.max_attempts)
    return _retries.encode(policy).decode()


def _max_duration(task: TaskManifest, trigger: Trigger) -> float | None:
    if trigger.max_duration is None:
        return task.max_duration
    return min(max(trigger.max_duration, LEAST_DURATION), MOST_DURATION)


@lru_cache(maxsize=1_000)
def _retry_text(policy: RetryPolicy) -> str:
    return _retries.encode(policy).decode()


def _key_ttl(trigger: Trigger) -> float | None:
    if trigger.idempotency_key is None:
        return None
    given = trigger.idempotency_key_ttl
    return KEY_TTL_SECONDS if given is None else given


def _request_key(trigger: Trigger) -> str | None:
    """Return the request key within its task: the contract scopes it so."""
    return None if trigger.request_key is None else f"{trigger.task}\x1f{trigger.request_key}"


def _ttl(environment: Environment, task: TaskManifest, trigger: Trigger) -> float | None:
    """Return the run's time to start in: trigger before task before environment; 0 opts out."""
    default = DEV_TTL_SECONDS if environment.slug == "dev" else None
    chosen = next((ttl for ttl in (trigger.ttl, task.ttl) if ttl is not None), default)
    return chosen or None


def _is_large(payload: str) -> bool:
    """Say whether a text has more bytes than a turn carries; its characters have 1 to 4 each."""
    return len(payload) > INLINE_BYTES // 4 and len(payload.encode()) > INLINE_BYTES


def _blob_id(run: NewRun) -> str:
    return f"blob_{run.run.removeprefix('run_')}"
