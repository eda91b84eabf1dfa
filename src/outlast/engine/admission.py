"""Taking triggers in: what was asked for becomes a run that the cycle can create, or a 'no'.

Everything that could fail a statement later, or name something unknown, is refused here, item by
item: one bad trigger never fails the others.
"""

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import msgspec

from outlast.engine.backlog import Backlog
from outlast.engine.catalogue import TASK_QUEUE, Catalogue, Offer
from outlast.engine.database import Database
from outlast.engine.expiring import Expiring
from outlast.engine.option_limits import check_limits
from outlast.engine.payloads import JSON, Unfit, check_payload
from outlast.engine.queries import load
from outlast.engine.schemas import PayloadCheck, compile_schema
from outlast.engine.tenancy import Environment
from outlast.engine.turn import NewRun, Restarting
from outlast.protocol.ids import new_id
from outlast.protocol.manifests import (
    LEAST_DURATION,
    MOST_DURATION,
    RetryPolicy,
    TaskManifest,
)
from outlast.protocol.messages import Held
from outlast.protocol.triggers import Refusal, Trigger

ADMISSION = load("admission")

INLINE_BYTES = 8 * 1024
"""Larger payloads are written to `blob` before the turn."""
KEY_TTL_SECONDS = 30 * 86_400.0
DEV_TTL_SECONDS = 600.0
_SEED_BYTES = 32
_MOST_COMPARED = 2_000
_CHECK_SECONDS = 600.0
_CHECKS = 1_000

_PARKED = frozenset({"unknown_task", "unknown_queue"})
"""Refusals that a trigger may wait out."""

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
        self._backlog = Backlog(database)
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

    async def restart(
        self, environment: str, held: Held, payload: str | None
    ) -> Restarting | Refusal:
        """Return the item that begins a run again. A large payload is stored when it returns."""
        wanted = Restarting(run=held.run, token=held.token, payload=payload)
        if payload is None:
            return wanted
        try:
            check_payload(payload, JSON)
        except Unfit as unfit:
            return unfit.refusal
        if not _is_large(payload):
            return wanted
        blob = new_id("run", self._milliseconds()).replace("run_", "blob_")
        await self._database.execute(
            ADMISSION.insert_blobs, environment_id=environment, ids=[blob], data=[payload]
        )
        return msgspec.structs.replace(wanted, payload=None, payload_blob=blob)

    async def _admit(self, environment: Environment, trigger: Trigger, origin: Origin) -> NewRun:
        check_limits(trigger)
        wanted = trigger.version or origin.version
        pinned = wanted if environment.pins_versions or trigger.version else None
        offer = self._catalogue.known(environment.id, pinned)
        task = offer.tasks.get(trigger.task) if offer is not None else None
        try:
            if offer is None or task is None:
                offer, task = await self._resolve(environment, trigger.task, pinned)
            queue = trigger.queue or task.queue
            if queue != task.queue:
                await self._require_queue(environment, queue)
        except Unfit as unfit:
            if not trigger.park or unfit.refusal.code not in _PARKED:
                raise
            return self._park(trigger, origin)
        self._check_payload(offer, task, trigger)
        await self._backlog.require_room(environment.id, queue, trigger)
        return self._run(
            trigger,
            origin,
            task,
            version_id=offer.version.id if pinned else None,
            ttl=run_ttl(environment, task, trigger.ttl),
            retry=run_retry(task, trigger.max_attempts),
        )

    def _park(self, trigger: Trigger, origin: Origin) -> NewRun:
        """Return a run that waits for a version: what only its task says is decided when it is."""
        if trigger.debounce is not None:
            raise Unfit(
                Refusal(
                    422,
                    "invalid_option",
                    f"task {trigger.task!r} or its queue is not declared yet, and a parked run "
                    "cannot be debounced; leave out park or debounce",
                    "debounce",
                )
            )
        task = TaskManifest(
            id=trigger.task,
            executor="shared",
            file="",
            function="",
            queue=own_queue(trigger.task),
            max_duration=None,
        )
        said = {} if trigger.max_attempts is None else {"max_attempts": trigger.max_attempts}
        retry = _retries.encode(said).decode()
        run = self._run(trigger, origin, task, version_id=None, ttl=trigger.ttl, retry=retry)
        return msgspec.structs.replace(run, parked=True)

    def _run(
        self,
        trigger: Trigger,
        origin: Origin,
        task: TaskManifest,
        *,
        version_id: str | None,
        ttl: float | None,
        retry: str,
    ) -> NewRun:
        machine = trigger.machine or task.machine
        executor = "dedicated" if machine else task.executor
        debounce = trigger.debounce
        return NewRun(
            run=new_id("run", self._milliseconds()),
            task=task.id,
            queue=trigger.queue or task.queue,
            executor=executor,
            route=f"{version_id or 'current'}/{executor}",
            payload=trigger.payload,
            payload_type=trigger.payload_type,
            trigger_function=origin.trigger_function,
            retry=retry,
            ttl=ttl,
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
            delay=trigger.delay if debounce is None else debounce.delay,
            delay_until=trigger.delay_until if debounce is None else None,
            priority=trigger.priority,
            max_duration=run_duration(task, trigger.max_duration),
            machine=machine,
            version_pin=version_id,
            is_test=trigger.is_test,
            replayed_from=origin.replayed_from,
            trace_context=trigger.trace_context,
            fairness_group=trigger.fairness_group,
            debounce_key=None if debounce is None else debounce.key,
            debounce_delay=None if debounce is None else debounce.delay,
            debounce_most=None if debounce is None else debounce.max_delay,
            debounce_trailing=debounce is not None and debounce.trailing,
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
                Refusal(422, "unknown_version", f"there is no version {version!r}", "version")
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
                f"no version here declares a queue {name!r}{_nearest(name, names)}; declare it in "
                "code, or trigger with park to wait for the version that does",
                "queue",
            )
        )

    def _check_payload(self, offer: Offer, task: TaskManifest, trigger: Trigger) -> None:
        given = trigger.payload
        value = None if given is None else check_payload(given, trigger.payload_type)
        if given is None and task.payload_schema is None:
            return
        key = (offer.version.id, task.id)
        known = self._checks.get(key)
        if known is None:
            known = (compile_schema(task.id, task.payload_schema),)
            self._checks.put(key, known)
        problem = known[0].problem(value) if known[0] is not None else None
        if problem is None:
            return
        whose = f"task {task.id!r} of version {offer.version.name}"
        if given is None:
            said = f"{whose} needs a payload and got none; send one, or let the task have a default"
        else:
            said = f"the payload does not fit {whose}: {problem}; correct it, or deploy the task "
            said += "that takes it"
        raise Unfit(Refusal(422, "payload_mismatch", said, "payload"))

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


def _unknown_task(task_id: str, offer: Offer | None) -> Refusal:
    if offer is None:
        message = (
            f"there is no task {task_id!r}: no worker has registered tasks in this environment "
            "yet; start one: outlast dev, or outlast worker"
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


def own_queue(task_id: str) -> str:
    """Return the queue that a task has when it names none."""
    return f"{TASK_QUEUE}{task_id}"


def run_retry(task: TaskManifest, max_attempts: int | None) -> str:
    """Return the policy of a run as JSON: the trigger's number of attempts before the task's."""
    if max_attempts is None:
        return _retry_text(task.retry)
    policy = msgspec.structs.replace(task.retry, max_attempts=max_attempts)
    return _retries.encode(policy).decode()


def run_duration(task: TaskManifest, given: float | None) -> float | None:
    """Return the longest active time of an attempt: the trigger's before the task's."""
    return task.max_duration if given is None else min(max(given, LEAST_DURATION), MOST_DURATION)


def run_ttl(environment: Environment, task: TaskManifest, given: float | None) -> float | None:
    """Return a run's time to start in: trigger before task before environment; 0 opts out."""
    default = DEV_TTL_SECONDS if environment.slug == "dev" else None
    chosen = next((ttl for ttl in (given, task.ttl) if ttl is not None), default)
    return chosen or None


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


def _is_large(payload: str) -> bool:
    """Say whether a text has more bytes than a turn carries; its characters have 1 to 4 each."""
    return len(payload) > INLINE_BYTES // 4 and len(payload.encode()) > INLINE_BYTES


def _blob_id(run: NewRun) -> str:
    return f"blob_{run.run.removeprefix('run_')}"
