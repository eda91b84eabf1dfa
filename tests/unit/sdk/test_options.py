"""Options become a trigger; what cannot work is refused by name."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_runtime import FakeRuntime
from outlast import Queue, Retry, UsageError, idempotency_keys
from outlast.protocol.manifests import RetryPolicy
from outlast.sdk.durations import seconds
from outlast.sdk.idempotency import item_key, resolve
from outlast.sdk.options import WaitOptions, build

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("option", "value", "field", "expected"),
    [
        ("delay", "1h30m", "delay", 5_400.0),
        ("delay", timedelta(days=1), "delay", 86_400.0),
        ("delay", MOMENT, "delay_until", MOMENT.timestamp()),
        ("ttl", 0, "ttl", 0.0),
        ("idempotency_key_ttl", "60s", "idempotency_key_ttl", 60.0),
        ("queue", "paid", "queue", "paid"),
        ("concurrency_key", 7, "concurrency_key", "7"),
        ("priority", 10, "priority", 10.0),
        ("tags", "a", "tags", ("a",)),
        ("tags", ["a", "b"], "tags", ("a", "b")),
        ("metadata", {"a": {"b": 1}}, "metadata", '{"a":{"b":1}}'),
        ("max_attempts", 5, "max_attempts", 5),
        ("max_duration", "10m", "max_duration", 600.0),
        ("machine", "small-1x", "machine", "small-1x"),
        ("version", "v2", "version", "v2"),
        ("test", True, "is_test", True),
        ("delay", None, "delay", None),
    ],
)
def test_each_option_has_its_field(option: str, value: Any, field: str, expected: object) -> None:
    assert getattr(build("t", "1", {option: value}), field) == expected


def test_a_declared_queue_counts_by_its_name() -> None:
    assert build("t", None, {"queue": Queue("paid")}).queue == "paid"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dely": "1h"}, "did you mean delay?"),
        ({"queue": {"name": "q"}}, r"declare Queue\("),
        ({"concurrency_limit": 1}, r"declare it: Queue\("),
        ({"retry": 3}, "max_attempts="),
        ({"version": "v1"}, "version is no option"),
        ({"delay": "soon"}, "not a duration"),
        ({"delay": "-1h"}, "not a duration"),
        ({"delay": MOMENT.replace(tzinfo=None)}, "no time zone"),
        ({"ttl": -1}, "negative"),
        ({"ttl": True}, "is a bool"),
        ({"tags": ["x"] * 11}, "at most 10"),
        ({"tags": ["x" * 129]}, "1 to 128"),
        ({"metadata": {"a": "x" * 300_000}}, "256 KB"),
        ({"metadata": {1: 2}}, r"metadata\[1\]"),
        ({"max_attempts": 0}, "between 1 and 250"),
        ({"priority": "high"}, "number of seconds"),
        ({"idempotency_key": ""}, "1 to 2048"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build("t", None, options, allowed=WaitOptions)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30s", 30), ("1h30m", 5_400), ("500ms", 0.5), ("2w", 1_209_600), ("1d 2hr", 93_600)],
)
def test_durations_are_read(text: str, expected: float) -> None:
    assert seconds(text, "x") == expected


@given(st.text(max_size=8))
def test_durations_are_read_or_refused(text: str) -> None:
    try:
        found = seconds(text, "x")
    except UsageError as error:
        found = 0.0 if repr(text) in str(error) else -1.0

    assert found >= 0


def test_a_retry_policy_is_told_in_seconds() -> None:
    retry = Retry(max_attempts=5, factor=1.8, min_timeout="500ms", max_timeout="30s")

    assert retry.policy() == RetryPolicy(5, 1.8, 0.5, 30.0, randomize=True)
    with pytest.raises(UsageError, match="max_attempts"):
        Retry(max_attempts=251)


# The hashes are those that the official clients send.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_outside_a_run_every_scope_is_global() -> None:
    key = resolve("abc")

    assert (str(key), key.shown, key.scope) == (ABC, "abc", "run")
    assert idempotency_keys.create("abc", scope="global") == ABC
    assert idempotency_keys.create(["a", "b"], scope="global") == idempotency_keys.hash_of(["a-b"])


def test_inside_a_run_the_scope_is_part_of_the_key(run: FakeRuntime) -> None:
    assert idempotency_keys.create("abc") == idempotency_keys.hash_of(["abc-run_1"])
    assert idempotency_keys.create("abc", scope="attempt") == idempotency_keys.hash_of(
        ["abc-run_1-2"]
    )
    assert idempotency_keys.create("abc", scope="global") == ABC


def test_a_hash_is_taken_as_it_is() -> None:
    trigger = build("t", None, {"idempotency_key": ABC})

    assert (trigger.idempotency_key, trigger.idempotency_key_shown) == (ABC, None)
    created = idempotency_keys.create("abc", scope="global")
    trigger = build("t", None, {"idempotency_key": created})
    assert (trigger.idempotency_key, trigger.idempotency_key_shown) == (ABC, "abc")
    assert trigger.idempotency_scope == "global"


@pytest.mark.parametrize("text", ["z" * 64, "A" * 64, "order-" + "7" * 58])
def test_another_text_of_that_length_is_a_plain_key(text: str, run: FakeRuntime) -> None:
    """It belongs to its run, alone as in a batch, which the server would hash by itself."""
    key = resolve(text)

    assert str(key) == idempotency_keys.hash_of([text, "run_1"])
    assert key.shown == text


def test_items_of_a_batch_get_keys_of_their_own() -> None:
    assert item_key("nightly", 3) == idempotency_keys.hash_of(["nightly-3"])
