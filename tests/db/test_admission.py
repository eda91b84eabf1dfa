"""A trigger becomes a run that the cycle can create, or a refusal that names the fix."""

import json
import time
from dataclasses import dataclass

import msgspec
import pytest

from offices import Office, manifest, task
from outlast.engine.admission import Origin
from outlast.engine.database import Database
from outlast.engine.option_limits import MAX_KEY_CHARS
from outlast.engine.payloads import MAX_PAYLOAD_BYTES
from outlast.engine.queries import parse
from outlast.engine.tenancy import Environment
from outlast.engine.turn import NewRun
from outlast.protocol.manifests import QueueManifest, RetryPolicy
from outlast.protocol.nesting import MAX_DEPTH, is_too_deep
from outlast.protocol.triggers import Refusal, Trigger

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "organization": {"type": "string", "maxLength": 5},
            "size": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "kind": {"enum": ["csv", "json"]},
            "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "pages": {"type": "array", "items": {"$ref": "#/$defs/Page"}},
        },
        "required": ["organization"],
        "$defs": {"Page": {"type": "object", "additionalProperties": False}},
    }
)
BLOB = parse("test", "-- name: read\nselect data from outlast.blob where id = :id")


@dataclass
class Desk:
    office: Office
    environment: Environment

    async def admit(self, trigger: Trigger, origin: Origin | None = None) -> NewRun | Refusal:
        [answer] = await self.office.admission.admit(self.environment, [trigger], origin)
        return answer

    async def run(self, trigger: Trigger, origin: Origin | None = None) -> NewRun:
        answer = await self.admit(trigger, origin)
        assert isinstance(answer, NewRun), answer
        return answer

    async def refusal(self, trigger: Trigger) -> Refusal:
        answer = await self.admit(trigger)
        assert isinstance(answer, Refusal), answer
        return answer


async def open_desk(database: Database, slug: str) -> Desk:
    office = Office(database)
    project = await office.project()
    environment = next(each for each in project.environments if each.slug == slug)
    await office.catalogue.register(
        environment.id,
        manifest(
            "a",
            task("export-invoices"),
            task("checked", schema=SCHEMA),
            task("hasty", ttl=60),
            queues=(QueueManifest("export", concurrency_limit=1),),
        ),
    )
    return Desk(office, environment)


@pytest.fixture
async def desk(database: Database) -> Desk:
    return await open_desk(database, "prod")


async def test_a_trigger_is_resolved_against_the_current_version(desk: Desk) -> None:
    run = await desk.run(Trigger(task="export-invoices", payload='{"a": 1}', tags=("x", "x", "y")))

    assert run.run.startswith("run_")
    assert (run.queue, run.route) == ("task/export-invoices", "current/shared")
    assert (run.payload, run.payload_type) == ('{"a": 1}', "application/json")
    assert run.tags == ("x", "y")
    assert msgspec.json.decode(run.retry, type=RetryPolicy) == RetryPolicy()
    assert len(bytes.fromhex(run.seed)) == 32
    assert (run.ttl, run.version_pin, run.max_duration) == (None, None, 3600.0)


async def test_options_override_what_the_task_says(desk: Desk) -> None:
    run = await desk.run(
        Trigger(
            task="hasty",
            queue="export",
            concurrency_key="org",
            max_attempts=9,
            max_duration=5,
            machine="large-1x",
            ttl=0,
            idempotency_key="a" * 64,
            request_key="r",
        )
    )

    assert (run.queue, run.concurrency_key) == ("export", "org")
    assert msgspec.json.decode(run.retry, type=RetryPolicy).max_attempts == 9
    assert (run.executor, run.route) == ("dedicated", "current/dedicated")
    assert (run.machine, run.max_duration, run.ttl) == ("large-1x", 5, None)
    assert run.idempotency_ttl == 30 * 86_400
    assert run.request_key == "hasty\x1fr"


async def test_the_family_comes_from_the_origin(desk: Desk) -> None:
    origin = Origin(
        trigger_function="triggerAndWait", parent="run_p", root="run_r", depth=2, batch="batch_1"
    )

    run = await desk.run(Trigger(task="hasty"), origin)

    assert (run.trigger_function, run.parent, run.root) == ("triggerAndWait", "run_p", "run_r")
    assert (run.depth, run.batch, run.ttl) == (2, "batch_1", 60)


async def test_in_dev_runs_expire_after_ten_minutes_unless_told(database: Database) -> None:
    desk = await open_desk(database, "dev")

    assert (await desk.run(Trigger(task="export-invoices"))).ttl == 600
    assert (await desk.run(Trigger(task="hasty"))).ttl == 60
    assert (await desk.run(Trigger(task="hasty", ttl=0))).ttl is None


async def test_a_pinned_trigger_needs_its_version(desk: Desk) -> None:
    offer = await desk.office.catalogue.offer(desk.environment.id)
    assert offer is not None

    run = await desk.run(Trigger(task="hasty", version=offer.version.name))
    refusal = await desk.refusal(Trigger(task="hasty", version="20200101.1"))

    assert run.route == f"{offer.version.id}/shared"
    assert run.version_pin == offer.version.id
    assert (refusal.status, refusal.code) == (422, "unknown_version")


async def test_an_unknown_task_names_the_nearest(desk: Desk) -> None:
    refusal = await desk.refusal(Trigger(task="export-invoice"))

    assert (refusal.status, refusal.code, refusal.param) == (404, "unknown_task", "task")
    assert "did you mean 'export-invoices'" in refusal.message


async def test_an_environment_without_workers_says_so(database: Database) -> None:
    office = Office(database)
    environment = (await office.project()).environments[0]

    [refusal] = await office.admission.admit(environment, [Trigger(task="any")])

    assert isinstance(refusal, Refusal)
    assert "no worker has registered" in refusal.message


async def test_a_task_registered_at_another_server_is_known_at_once(
    desk: Desk, database: Database
) -> None:
    await desk.run(Trigger(task="hasty"))

    await Office(database).catalogue.register(
        desk.environment.id,
        manifest("b", task("brand-new"), queues=(QueueManifest("new-queue"),)),
    )

    assert (await desk.run(Trigger(task="brand-new", queue="new-queue"))).task == "brand-new"


async def test_an_unknown_queue_is_refused(desk: Desk) -> None:
    refusal = await desk.refusal(Trigger(task="hasty", queue="exports"))

    assert (refusal.status, refusal.code) == (422, "unknown_queue")
    assert "did you mean 'export'" in refusal.message


@pytest.mark.parametrize(
    ("payload", "payload_type", "told"),
    [
        ("{}", "application/json", ": payload.organization is missing;"),
        ('{"organization": 5}', "application/json", 'must be of type "string", not a number'),
        ('{"json": {"organization": "secret-id"}}', "application/super+json", "at most 5 charac"),
        ('{"organization": "a", "size": "secret"}', "application/json", '"integer", not a text'),
        ('{"organization": "a", "kind": "secret"}', "application/json", 'one of ["csv","json"]'),
        ('{"organization": "a", "pages": [{"n": 1}]}', "application/json", "pages[0] has a field"),
        ('{"organization": "a", "either": true}', "application/json", "is none of what the task"),
        ("secret-text", "text/plain", 'payload must be of type "object", not a text of 11'),
        (None, "application/json", "needs a payload and got none"),
    ],
)
async def test_a_payload_that_does_not_fit_names_place_rule_and_fix_never_the_input(
    desk: Desk, payload: str | None, payload_type: str, told: str
) -> None:
    refusal = await desk.refusal(
        Trigger(task="checked", payload=payload, payload_type=payload_type)
    )

    assert (refusal.status, refusal.code, refusal.param) == (422, "payload_mismatch", "payload")
    assert told in refusal.message
    assert "of version 2" in refusal.message
    assert "deploy the task" in refusal.message or "let the task have a default" in refusal.message
    assert "secret" not in refusal.message


async def test_of_many_problems_the_first_are_told(desk: Desk) -> None:
    pages = ",".join(["1"] * 100)

    refusal = await desk.refusal(
        Trigger(task="checked", payload=f'{{"organization": "a", "pages": [{pages}]}}')
    )

    assert "payload.pages[4] must be" in refusal.message
    assert "payload.pages[5]" not in refusal.message
    assert "and more" in refusal.message


async def test_a_task_that_does_with_null_or_nothing_needs_no_payload(desk: Desk) -> None:
    nullable = json.dumps({"anyOf": [{"type": "string"}, {"type": "null"}]})
    await desk.office.catalogue.register(
        desk.environment.id, manifest("n", task("nullable", schema=nullable), task("plain"))
    )

    assert (await desk.run(Trigger(task="nullable"))).payload is None
    assert (await desk.run(Trigger(task="plain"))).payload is None


async def test_super_json_is_unwrapped_for_the_check_and_kept_as_sent(desk: Desk) -> None:
    payload = '{"json": {"organization": "acme"}, "meta": {"values": {}}}'

    run = await desk.run(
        Trigger(task="checked", payload=payload, payload_type="application/super+json")
    )

    assert run.payload == payload


async def test_a_schema_with_an_outside_reference_is_never_fetched(
    desk: Desk, tmp_path: object
) -> None:
    schema = json.dumps({"$ref": f"file://{tmp_path}/schema.json"})
    await desk.office.catalogue.register(
        desk.environment.id, manifest("r", task("t", schema=schema))
    )

    assert (await desk.run(Trigger(task="t", payload="5"))).payload == "5"


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ("{", "invalid_json"),
        ("", "invalid_json"),
        ("NaN", "invalid_json"),
        ('"\\ud800"', "invalid_json"),
        ("1e999", "invalid_json"),
        ('"\0"', "invalid_text"),
        ('"\ud800"', "invalid_text"),
        ("[" * 3000, "too_deep"),
        ("[" * 101 + "]" * 101, "too_deep"),
        ('"' + "x" * MAX_PAYLOAD_BYTES + '"', "payload_too_large"),
    ],
    ids=lambda value: str(value)[:12].encode("unicode_escape").decode(),
)
async def test_a_payload_that_cannot_be_held_is_refused(
    desk: Desk, payload: str, code: str
) -> None:
    refusal = await desk.refusal(Trigger(task="hasty", payload=payload))

    assert refusal.code == code
    assert refusal.param == "payload"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"task": ""}, "task"),
        ({"task": "x" * 600}, "task"),
        ({"concurrency_key": "k" * (MAX_KEY_CHARS + 1)}, "concurrencyKey"),
        ({"concurrency_key": "😀" * 400}, "concurrencyKey"),
        ({"concurrency_key": ""}, "concurrencyKey"),
        ({"concurrency_key": "\0"}, "concurrencyKey"),
        ({"idempotency_key": "\ud800"}, "idempotencyKey"),
        ({"idempotency_key": "k" * 600}, "idempotencyKey"),
        ({"idempotency_key_shown": "k" * 3000}, "idempotencyKeyOptions"),
        ({"idempotency_scope": "galaxy"}, "idempotencyScope"),
        ({"request_key": "k" * 600}, "requestKey"),
        ({"tags": tuple("abcdefghijk")}, "tags"),
        ({"tags": ("",)}, "tags"),
        ({"tags": ("x" * 129,)}, "tags"),
        ({"delay": -1.0}, "delay"),
        ({"delay": float("nan")}, "delay"),
        ({"delay": 1e300}, "delay"),
        ({"delay_until": float("inf")}, "delay"),
        ({"ttl": -1.0}, "ttl"),
        ({"idempotency_key_ttl": 1e12}, "idempotencyKeyTTL"),
        ({"priority": float("inf")}, "priority"),
        ({"max_attempts": 0}, "maxAttempts"),
        ({"max_attempts": 2**40}, "maxAttempts"),
        ({"max_duration": -5.0}, "maxDuration"),
        ({"machine": "huge"}, "machine"),
        ({"payload_type": "application/store"}, "payloadType"),
        ({"metadata": "[]"}, "metadata"),
        ({"metadata": "{"}, "metadata"),
        ({"metadata": '{"a": "\\u0000"}'}, "metadata"),
        ({"metadata": '{"a": "' + "x" * 300_000 + '"}'}, "metadata"),
        ({"version": "v" * 201}, "version"),
        ({"trace_context": "t" * 3000}, "traceContext"),
    ],
    ids=lambda value: str(value)[:40].encode("unicode_escape").decode(),
)
async def test_an_option_beyond_its_limit_is_refused_by_name(
    desk: Desk, options: dict[str, object], param: str
) -> None:
    refusal = await desk.refusal(Trigger(**{"task": "hasty", **options}))  # type: ignore[arg-type]

    assert refusal.param == param
    assert refusal.status in {413, 422}


async def test_an_escaped_backslash_before_u0000_is_no_nul(desk: Desk) -> None:
    run = await desk.run(Trigger(task="hasty", metadata='{"a": "\\\\u0000"}'))

    assert run.metadata is not None


async def test_one_bad_item_fails_alone_and_order_is_kept(desk: Desk) -> None:
    large = Trigger(task="hasty", payload=json.dumps("x" * 9000))
    wrong = Trigger(task="checked", payload="{}")

    answers = await desk.office.admission.admit(
        desk.environment, [Trigger(task="hasty"), Trigger(task="nothing"), wrong, large]
    )

    assert [type(answer) for answer in answers] == [NewRun, Refusal, Refusal, NewRun]


async def test_a_large_payload_is_stored_before_the_turn(desk: Desk, database: Database) -> None:
    payload = json.dumps("é" * 5000, ensure_ascii=False)

    run = await desk.run(Trigger(task="hasty", payload=payload))

    assert run.payload is None
    assert run.payload_blob == run.run.replace("run_", "blob_")
    assert await database.fetch_value(BLOB["read"], id=run.payload_blob) == payload


def test_depth_is_measured_outside_of_strings() -> None:
    assert not is_too_deep(b'["' + b"[" * 5000 + b'\\"{"]')
    assert not is_too_deep(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert not is_too_deep(b"[[],[]," + b"[]," * 5000 + b"1]")
    assert is_too_deep(b'{"a":' * (MAX_DEPTH + 1))


def test_a_hostile_payload_is_measured_in_linear_time() -> None:
    started = time.perf_counter()

    for data in (b'"' + b"\\" * 3_000_000, b"[" * 200 + b'"' * 2_000_001, b'{"' * 1_000_000):
        is_too_deep(data)

    assert time.perf_counter() - started < 20  # quadratic would take hours
