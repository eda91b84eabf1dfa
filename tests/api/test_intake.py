"""What a client sends becomes a `Trigger`, or a refusal that names the field."""

import hashlib
import json
from typing import Any

import pytest

from outlast.protocol.triggers import Trigger
from outlast.server.intake import read_item, read_trigger
from outlast.server.problems import Problem, response


def read(body: dict[str, Any] | bytes, **headers: str) -> Trigger:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_trigger("hello", data, named)


def options(**given: Any) -> Trigger:
    return read({"options": given})


def refusal(**given: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        options(**given)
    return caught.value


def test_a_payload_is_kept_as_the_text_it_was() -> None:
    trigger = read(b'{"payload": {"a" : 1.0,  "n":null}}')

    assert trigger.payload == '{"a" : 1.0,  "n":null}'
    assert trigger.payload_type == "application/json"


def test_a_plain_json_string_stays_json() -> None:
    assert read({"payload": "hello"}).payload == '"hello"'


def test_the_official_client_sends_text_and_superjson_inside_strings() -> None:
    text = read({"payload": "hello", "options": {"payloadType": "text/plain"}})
    superjson = read(
        {"payload": '{"json":{"a":1}}', "options": {"payloadType": "application/super+json"}}
    )

    assert (text.payload, text.payload_type) == ("hello", "text/plain")
    assert superjson.payload == '{"json":{"a":1}}'
    assert superjson.payload_type == "application/super+json"


def test_no_payload_is_no_payload() -> None:
    assert read({}).payload is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Request body is empty"),
        (b"{", "Invalid JSON"),
        (b"\xff", "Invalid JSON"),
        (b'{"payload": "\\ud800"}', "Invalid JSON"),
        (b'{"payload": {"name": "\xff"}}', "the payload is not UTF-8"),
        (b'{"payload": "\xff", "options": {"payloadType": "text/plain"}}', "not UTF-8"),
        (b"[]", "Expected `object`, got `array`"),
    ],
)
def test_what_is_no_body_is_a_400(body: bytes, message: str) -> None:
    with pytest.raises(Problem) as caught:
        read(body)

    assert caught.value.status == 400
    assert message in caught.value.message


def test_every_option_arrives() -> None:
    trigger = read(
        {
            "options": {
                "queue": {"name": "export"},
                "concurrencyKey": 7,
                "delay": "1h30m",
                "ttl": "10m",
                "idempotencyKey": "a" * 64,
                "idempotencyKeyTTL": "7d",
                "idempotencyKeyOptions": {"key": "mine", "scope": "run"},
                "machine": "small-2x",
                "maxAttempts": 4,
                "maxDuration": 90,
                "priority": 10,
                "metadata": {"progress": 0},
                "tags": ["a", "b", "a"],
                "test": True,
                "lockToVersion": "20261122.1",
            }
        },
        traceparent="00-1-2-01",
        x_trigger_request_idempotency_key="request-1",
    )

    assert trigger == Trigger(
        task="hello",
        queue="export",
        concurrency_key="7",
        delay=5400.0,
        ttl=600.0,
        idempotency_key="a" * 64,
        idempotency_key_ttl=604_800.0,
        idempotency_key_shown="mine",
        idempotency_scope="run",
        machine="small-2x",
        max_attempts=4,
        max_duration=90.0,
        priority=10.0,
        metadata='{"progress":0}',
        tags=("a", "b", "a"),
        is_test=True,
        version="20261122.1",
        trace_context="00-1-2-01",
        request_key="request-1",
    )


def test_a_date_is_a_moment() -> None:
    assert options(delay="2030-01-01T00:00:00.000Z").delay_until == 1_893_456_000.0


def test_a_ttl_may_be_seconds_and_zero_opts_out() -> None:
    assert options(ttl=90).ttl == 90.0
    assert options(ttl=0).ttl == 0.0


def test_a_key_that_is_not_hashed_yet_is_hashed_here() -> None:
    trigger = options(idempotencyKey="order-1")

    assert trigger.idempotency_key == hashlib.sha256(b"order-1").hexdigest()
    assert trigger.idempotency_key_shown == "order-1"


def test_the_key_may_come_as_a_header_as_old_clients_send_it() -> None:
    trigger = read({}, idempotency_key="order-1", idempotency_key_ttl="60s")

    assert trigger.idempotency_key == hashlib.sha256(b"order-1").hexdigest()
    assert trigger.idempotency_key_ttl == 60.0


def test_a_single_tag_may_be_a_string() -> None:
    assert options(tags="one").tags == ("one",)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"delay": "soon"}, "delay"),
        ({"delay": "2030-01-01T00:00:00"}, "delay"),
        ({"ttl": "soon"}, "ttl"),
        ({"ttl": -1}, "ttl"),
        ({"idempotencyKey": "a", "idempotencyKeyTTL": "1w"}, "idempotencyKeyTTL"),
        ({"queue": {"name": "q", "concurrencyLimit": 5}}, "queue"),
        ({"debounce": {"key": "k", "delay": "soon"}}, "debounce"),
        ({"concurrencyLimit": 5}, "concurrencyLimit"),
        ({"concurencyKey": "a"}, "concurencyKey"),
        ({"resumeParentOnCompletion": True}, "resumeParentOnCompletion"),
    ],
)
def test_a_broken_rule_is_a_422_that_names_the_field(given: dict[str, Any], param: str) -> None:
    problem = refusal(**given)

    assert problem.status == 422
    assert problem.param == param


def test_a_limit_at_trigger_time_names_the_fix() -> None:
    problem = refusal(queue={"name": "q", "concurrencyLimit": 5})

    assert "concurrencyKey" in problem.message


def test_a_wrong_type_shows_location_and_rule_but_never_the_input() -> None:
    problem = refusal(maxAttempts="hunter2-secret", machine="hunter2-secret")
    body = bytes(response(problem).body).decode()

    assert problem.status == 400
    assert "maxAttempts: input should be a valid integer" in problem.message
    assert "hunter2" not in body


def test_an_item_of_a_batch_keeps_its_options_for_later() -> None:
    item = read_item(b'{"index":3,"task":"hello","payload":"\\"x\\"","options":{"ttl":"1m"}}')

    assert (item.index, item.task, bytes(item.options)) == (3, "hello", b'{"ttl":"1m"}')


def test_a_deep_item_is_refused_before_anything_parses_it() -> None:
    with pytest.raises(Problem) as caught:
        read_item(b'{"index":0,"task":"a","payload":' + b"[" * 3000)

    assert caught.value.code == "too_deep"
