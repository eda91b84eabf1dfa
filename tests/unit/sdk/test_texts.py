"""What cannot be stored is refused where the user's code says it, with the character's name."""

from collections.abc import Callable

import pytest

from fake_runtime import FakeRuntime
from outlast import idempotency_keys, metadata, step_sync, tags, tasks
from outlast.sdk.errors import UsageError
from outlast.sdk.texts import storable_json

REFUSED: list[tuple[str, Callable[[], object]]] = [
    ("a key of metadata", lambda: metadata.set("phase\0", 1)),
    ("a key of metadata", lambda: metadata.set("phase\ud800", 1)),
    ("a value of metadata", lambda: metadata.set("phase", {"a": ["b\0"]})),
    ("a value of metadata", lambda: metadata.parent.append("phase", "\0")),
    ("a tag", lambda: tags.add("org\0")),
    ("a tag", lambda: tags.add("org\udfff")),
    ("a step's name", lambda: step_sync("charge\0", int)),
    ("a step's name", lambda: step_sync("charge\ud800", int)),
    ("a task's id", lambda: tasks.trigger("he\0llo")),
    ("concurrency_key", lambda: tasks.trigger("hello", concurrency_key="org\ud800")),
    ("queue", lambda: tasks.trigger("hello", queue="a\0")),
    ("version", lambda: tasks.trigger("hello", version="\ud800")),
    ("machine", lambda: tasks.trigger("hello", machine="\ud800")),
    ("metadata", lambda: tasks.trigger("hello", metadata={"a": "\0"})),
    ("a tag", lambda: tasks.trigger("hello", tags=["\ud800"])),
    ("an idempotency key", lambda: idempotency_keys.create("\ud800")),
    ("an idempotency key", lambda: tasks.batch_trigger("hello", [1], idempotency_key="a\0")),
]


@pytest.mark.parametrize(("what", "call"), REFUSED)
def test_what_cannot_be_stored_is_refused_by_name(
    run: FakeRuntime, what: str, call: Callable[[], object]
) -> None:
    with pytest.raises(UsageError, match=rf"^{what} holds the character U\+(0000|D800|DFFF)"):
        call()

    assert (run.calls, run.operations, run.tags) == ([], [], [])


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert storable_json('"a\\\\u0000"', "it") == '"a\\\\u0000"'


@pytest.mark.parametrize("amount", ["1", True, None])
def test_metadata_is_incremented_by_numbers_only(run: FakeRuntime, amount: object) -> None:
    with pytest.raises(UsageError, match="by a number"):
        metadata.increment("count", amount)  # type: ignore[arg-type]

    assert run.operations == []
