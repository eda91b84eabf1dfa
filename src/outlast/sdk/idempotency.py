"""Idempotency keys: the same key is the same run, across runs and retries.

A key is hashed here, as the official clients do: SHA-256 over its parts joined with '-', for the
scopes `run` and `attempt` with the run's id (and the attempt's number) appended.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from outlast.client import clients, queues
from outlast.sdk import runtime
from outlast.sdk.blocking import check_blocking
from outlast.sdk.errors import UsageError
from outlast.sdk.texts import storable

if TYPE_CHECKING:  # options need keys, tasks need options
    from outlast.sdk.task import Task

Scope = Literal["run", "attempt", "global"]
Key = str | Sequence[str]

MAX_CHARACTERS = 2048
_HASH = re.compile("[0-9a-f]{64}")


class IdempotencyKey(str):
    """A hashed key, which still knows what the user wrote and how far it reaches."""

    __slots__ = ("scope", "shown")

    shown: str | None
    scope: Scope | None


def create(key: Key, *, scope: Scope = "run") -> IdempotencyKey:
    """Return a key for a scope: this run, this attempt, or the whole environment.

    Outside a run every scope is global.
    """
    if scope not in ("run", "attempt", "global"):
        raise UsageError(f"scope {scope!r} is unknown; use 'run', 'attempt' or 'global'")
    parts = [key] if isinstance(key, str) else list(key)
    shown = storable("-".join(parts), "an idempotency key")
    if not 0 < len(shown) <= MAX_CHARACTERS:
        raise UsageError(f"an idempotency key has 1 to {MAX_CHARACTERS} characters")
    return _key(hash_of([*parts, *_owner(scope)]), shown, scope)


def resolve(key: Key) -> IdempotencyKey:
    """Return what a trigger option means: a created key, an already hashed text, or a plain key.

    Only 64 lower-case hexadecimal characters are a hash, as to the server: any other text of that
    length is a plain key.
    """
    if isinstance(key, IdempotencyKey):
        return key
    return create(key) if _is_plain(key) else _key(str(key), None, None)


async def reset(
    task: "Task[Any, Any] | str",
    key: Key,
    *,
    scope: Scope = "run",
    parent_run_id: str | None = None,
    attempt_number: int | None = None,
) -> None:
    """Forget a key, so that the next trigger with it makes a run. Raises `NotFoundError`.

    A plain key outside of a run needs `parent_run_id` for the scope run, and `attempt_number`
    besides for the scope attempt; without them it is global.
    """
    hashed = _stored(key, scope, parent_run_id, attempt_number)
    await clients.send(queues.reset_key(_task_id(task), hashed))


def reset_sync(
    task: "Task[Any, Any] | str",
    key: Key,
    *,
    scope: Scope = "run",
    parent_run_id: str | None = None,
    attempt_number: int | None = None,
) -> None:
    """Blocking `reset`."""
    check_blocking("idempotency_keys.reset_sync()", "idempotency_keys.reset()")
    hashed = _stored(key, scope, parent_run_id, attempt_number)
    clients.send_sync(queues.reset_key(_task_id(task), hashed))


def item_key(batch_key: Key, index: int) -> IdempotencyKey:
    """Return the key of a batch's item that has none of its own, so that items too are deduped."""
    shown = batch_key if isinstance(batch_key, str) else "-".join(batch_key)
    return _key(hash_of([storable(shown, "an idempotency key"), str(index)]), None, None)


def hash_of(parts: list[str]) -> str:
    """Return the SHA-256 of parts, in hex."""
    return hashlib.sha256("-".join(parts).encode()).hexdigest()


def _stored(key: Key, scope: Scope, run_id: str | None, attempt: int | None) -> str:
    """Return the hash of a key as the trigger sent it, perhaps from another run."""
    if attempt is not None and run_id is None:
        raise UsageError("attempt_number belongs to a run; give parent_run_id too")
    if run_id is None or isinstance(key, IdempotencyKey) or scope == "global":
        return str(create(key, scope=scope) if _is_plain(key) else resolve(key))
    if scope == "attempt" and attempt is None:
        raise UsageError("a key of the scope attempt needs attempt_number")
    parts = [key] if isinstance(key, str) else list(key)
    return hash_of([*parts, run_id, *([str(attempt)] if scope == "attempt" else [])])


def _is_plain(key: Key) -> bool:
    return not (isinstance(key, str) and _HASH.fullmatch(key))


def _task_id(task: "Task[Any, Any] | str") -> str:
    return task if isinstance(task, str) else task.id


def _owner(scope: Scope) -> list[str]:
    run = runtime.current()
    if run is None or scope == "global":
        return []
    ctx = run.context
    if scope == "run":
        return [ctx.run.id]
    earlier = [] if ctx.run.generation == 1 else [str(ctx.run.generation)]
    return [ctx.run.id, *earlier, str(ctx.attempt.number)]


def _key(hashed: str, shown: str | None, scope: Scope | None) -> IdempotencyKey:
    key = IdempotencyKey(hashed)
    key.shown = shown
    key.scope = scope
    return key
