"""Idempotency keys: the same key is the same run, across runs and retries.

A key is hashed here, as the official clients do: SHA-256 over its parts joined with '-', for the
scopes `run` and `attempt` with the run's id (and the attempt's number) appended.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal

from outlast.sdk import runtime
from outlast.sdk.errors import UsageError
from outlast.sdk.texts import storable

Scope = Literal["run", "attempt", "global"]
Key = str | Sequence[str]

MAX_CHARACTERS = 2048
_HASH_LENGTH = 64


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
    """Return what a trigger option means: a created key, an already hashed text, or a plain key."""
    if isinstance(key, IdempotencyKey):
        return key
    if isinstance(key, str) and len(key) == _HASH_LENGTH:
        return _key(key, None, None)
    return create(key)


def item_key(batch_key: Key, index: int) -> IdempotencyKey:
    """Return the key of a batch's item that has none of its own, so that items too are deduped."""
    shown = batch_key if isinstance(batch_key, str) else "-".join(batch_key)
    return _key(hash_of([storable(shown, "an idempotency key"), str(index)]), None, None)


def hash_of(parts: list[str]) -> str:
    """Return the SHA-256 of parts, in hex."""
    return hashlib.sha256("-".join(parts).encode()).hexdigest()


def _owner(scope: Scope) -> list[str]:
    run = runtime.current()
    if run is None or scope == "global":
        return []
    ctx = run.context
    return [ctx.run.id] if scope == "run" else [ctx.run.id, str(ctx.attempt.number)]


def _key(hashed: str, shown: str | None, scope: Scope | None) -> IdempotencyKey:
    key = IdempotencyKey(hashed)
    key.shown = shown
    key.scope = scope
    return key
