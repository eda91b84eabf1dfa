"""Every trigger option, on every face: SDK, HTTP and CLI, alone and as an item of a batch."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import pytest
from typer.testing import CliRunner

from fake_api import Answer, Asked, FakeServer, running_fake
from fake_runtime import FakeRuntime
from outlast import BatchItem, Queue, TaskRef, UsageError, batch, idempotency_keys, tasks
from outlast.cli.main import app
from outlast.protocol.outcomes import Outcome
from outlast.protocol.triggers import Debounce, Trigger
from outlast.sdk import runtime
from outlast.sdk.options import TriggerOptions
from outlast.server.intake import make_trigger, read_item, read_trigger

MOMENT = datetime(2030, 1, 1, tzinfo=UTC)
KEY = str(idempotency_keys.create("order-7"))


class Case(NamedTuple):
    """One option in the words of each face, and the fields of the trigger that it sets."""

    sdk: Mapping[str, Any]
    http: Mapping[str, object]
    cli: tuple[str, ...]
    fields: Mapping[str, object]


PUSHED = Debounce(key="k", delay=5.0, trailing=True, max_delay=60.0)

CASES = {
    "delay": Case({"delay": "1h30m"}, {"delay": "1h30m"}, ("--delay", "1h30m"), {"delay": 5400.0}),
    "a moment": Case(
        {"delay": MOMENT},
        {"delay": "2030-01-01T00:00:00.000Z"},
        ("--delay", "2030-01-01T00:00:00Z"),
        {"delay_until": MOMENT.timestamp()},
    ),
    "ttl": Case({"ttl": "10m"}, {"ttl": "10m"}, ("--ttl", "10m"), {"ttl": 600.0}),
    "no ttl": Case({"ttl": 0}, {"ttl": 0}, ("--ttl", "0s"), {"ttl": 0.0}),
    "idempotency_key": Case(
        {"idempotency_key": "order-7"},
        {"idempotencyKey": KEY, "idempotencyKeyOptions": {"key": "order-7", "scope": "run"}},
        ("--idempotency-key", "order-7"),
        {"idempotency_key": KEY, "idempotency_key_shown": "order-7", "idempotency_scope": "run"},
    ),
    "idempotency_key_ttl": Case(
        {"idempotency_key_ttl": "7d"},
        {"idempotencyKeyTTL": "7d"},
        ("--idempotency-key-ttl", "7d"),
        {"idempotency_key_ttl": 604_800.0},
    ),
    "debounce": Case(
        {"debounce": {"key": "k", "delay": "5s", "mode": "trailing", "max_delay": "1m"}},
        {"debounce": {"key": "k", "delay": "5s", "mode": "trailing", "maxDelay": "1m"}},
        ("--debounce", "k", "--debounce-max-delay", "1m", "--debounce-trailing"),
        {"debounce": PUSHED},
    ),
    "queue": Case(
        {"queue": Queue("paid")},
        {"queue": {"name": "paid"}},
        ("--queue", "paid"),
        {"queue": "paid"},
    ),
    "concurrency_key": Case(
        {"concurrency_key": 7},
        {"concurrencyKey": 7},
        ("--concurrency-key", "7"),
        {"concurrency_key": "7"},
    ),
    "fairness_group": Case(
        {"fairness_group": "org_1"},
        {"fairnessGroup": "org_1"},
        ("--fairness-group", "org_1"),
        {"fairness_group": "org_1"},
    ),
    "priority": Case({"priority": 10}, {"priority": 10}, ("--priority", "10"), {"priority": 10.0}),
    "tags": Case(
        {"tags": ["a", "b"]},
        {"tags": ["a", "b"]},
        ("--tag", "a", "--tag", "b"),
        {"tags": ("a", "b")},
    ),
    "metadata": Case(
        {"metadata": {"a": {"b": 1}}},
        {"metadata": {"a": {"b": 1}}},
        ("--metadata", '{"a":{"b":1}}'),
        {"metadata": '{"a":{"b":1}}'},
    ),
    "max_attempts": Case(
        {"max_attempts": 5}, {"maxAttempts": 5}, ("--max-attempts", "5"), {"max_attempts": 5}
    ),
    "max_duration": Case(
        {"max_duration": "10m"},
        {"maxDuration": 600},
        ("--max-duration", "10m"),
        {"max_duration": 600.0},
    ),
    "machine": Case(
        {"machine": "small-2x"},
        {"machine": "small-2x"},
        ("--machine", "small-2x"),
        {"machine": "small-2x"},
    ),
    "version": Case(
        {"version": "20300101.1"},
        {"lockToVersion": "20300101.1"},
        ("--version", "20300101.1"),
        {"version": "20300101.1"},
    ),
    "test": Case({"test": True}, {"test": True}, ("--test",), {"is_test": True}),
    "park": Case({"park": True}, {"park": True}, ("--park",), {"park": True}),
}

OF_THE_HANDLE = {"public_token_options"}
"""Not sent: it says what the handle's token is like (`test_handles.py`)."""
every_option = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """Return a server that takes triggers and batches, to which the environment points."""
    with running_fake() as fake:
        fake.accept_triggers()
        triggers = fake.answer

        def answer(asked: Asked) -> Answer:
            if asked.path.endswith("/triggers"):
                return triggers(asked)
            made: dict[str, object] = {"id": "batch_1", "runCount": 1, "isCached": False}
            if asked.path.endswith("/items"):
                made = {"id": "batch_1", "itemsAccepted": 1, "itemsDeduplicated": 0, "sealed": True}
            return 202, {}, json.dumps(made).encode()

        fake.answer = answer
        monkeypatch.setenv("OUTLAST_API_URL", fake.url)
        monkeypatch.setenv("OUTLAST_SECRET_KEY", "tr_dev_0123456789")
        monkeypatch.delenv("OUTLAST_VERSION", raising=False)
        monkeypatch.delenv("TRIGGER_VERSION", raising=False)
        yield fake


def test_the_table_knows_every_option() -> None:
    """A new option fails this until each face has it."""
    known = {name for case in CASES.values() for name in case.sdk}

    assert known | OF_THE_HANDLE == set(TriggerOptions.__annotations__)


@every_option
def test_the_sdk_sends_it(case: Case, server: FakeServer) -> None:
    tasks.trigger_sync("hello", 1, **case.sdk)

    [asked] = server.asked
    [sent] = asked.triggers()
    assert _differences(sent, case) == {}


@every_option
def test_the_sdk_sends_it_with_an_item_of_a_batch(case: Case, server: FakeServer) -> None:
    """Through the lines of the public API, which the server reads."""
    tasks.batch_trigger_sync("hello", [BatchItem(1, **case.sdk)])

    line = server.asked[-1].body.strip()
    assert _differences(_item(line), case) == {}


@every_option
def test_the_api_reads_it(case: Case) -> None:
    body = json.dumps({"payload": 1, "options": case.http}).encode()

    assert _differences(read_trigger("hello", body, {}), case) == {}


@every_option
def test_the_api_reads_it_with_an_item_of_a_batch(case: Case) -> None:
    line = json.dumps({"index": 0, "task": "hello", "payload": 1, "options": case.http}).encode()

    assert _differences(_item(line), case) == {}


@every_option
def test_the_terminal_sends_it(case: Case, server: FakeServer) -> None:
    done = CliRunner().invoke(app, ["trigger", "hello", "--payload", "1", *case.cli])

    assert done.exit_code == 0, done.output
    [sent] = server.asked[-1].triggers()
    assert _differences(sent, case) == {}


class Connection:
    """A blocking connection of DB-API, its transaction open: it keeps what is written."""

    autocommit = False

    def __init__(self) -> None:
        self.rows: list[str] = []

    @contextmanager
    def cursor(self) -> Iterator["Connection"]:
        yield self

    def execute(self, statement: str, values: tuple[str]) -> None:
        assert statement.startswith("insert into outlast_outbox")
        self.rows.extend(values)


@every_option
def test_a_trigger_in_a_transaction_carries_it(case: Case) -> None:
    connection = Connection()

    tasks.trigger_sync("hello", 1, connection=connection, **case.sdk)

    sent = msgspec.json.decode(connection.rows[0], type=Trigger)
    if sent.delay_until is not None and "delay" in case.fields:  # counted from the call
        sent = msgspec.structs.replace(sent, delay=case.fields["delay"], delay_until=None)
    assert _differences(sent, case) == {}


@every_option
async def test_every_call_inside_a_run_carries_it(case: Case) -> None:
    """Alone and as an item, waited for and not; what is waited for takes no version."""
    run, hello = parent(), TaskRef[int, None]("hello")
    with runtime.entered(run):
        await hello.trigger(1, **case.sdk)
        await hello.batch_trigger([BatchItem(1, **case.sdk)])
        await batch.trigger(hello.item(1, **case.sdk))
        if "version" not in case.sdk:
            await hello.trigger_and_wait(1, **case.sdk)
            await hello.batch_trigger_and_wait([BatchItem(1, **case.sdk)])
            await batch.trigger_and_wait(hello.item(1, **case.sdk))
        inside = _inside(case)

    assert len(run.calls) == (3 if "version" in case.sdk else 6)
    assert [_differences(call.items[0], inside) for call in run.calls] == [{}] * len(run.calls)


@every_option
def test_every_blocking_call_inside_a_run_carries_it(case: Case) -> None:
    run, hello = parent(), TaskRef[int, None]("hello")
    with runtime.entered(run):
        hello.trigger_sync(1, **case.sdk)
        hello.batch_trigger_sync([BatchItem(1, **case.sdk)])
        batch.trigger_sync(hello.item(1, **case.sdk))
        if "version" not in case.sdk:
            hello.trigger_and_wait_sync(1, **case.sdk)
            hello.batch_trigger_and_wait_sync([BatchItem(1, **case.sdk)])
            batch.trigger_and_wait_sync(hello.item(1, **case.sdk))
        inside = _inside(case)

    assert len(run.calls) == (3 if "version" in case.sdk else 6)
    assert [_differences(call.items[0], inside) for call in run.calls] == [{}] * len(run.calls)


def parent() -> FakeRuntime:
    run = FakeRuntime()
    with runtime.entered(run):
        keyed = f"hello[{idempotency_keys.create('order-7')[:16]}]"
    for name in ("hello", keyed):
        run.answers[name] = Outcome(ok=True, members=(Outcome(ok=True),))
    return run


def _inside(case: Case) -> Case:
    """Return the case as it is inside of the run that is entered: a plain key belongs to it."""
    if "idempotency_key" not in case.sdk:
        return case
    key = str(idempotency_keys.create("order-7"))
    return case._replace(fields={**case.fields, "idempotency_key": key})


async def test_a_run_that_is_waited_for_takes_no_version_and_says_why() -> None:
    hello = TaskRef[int, None]("hello")
    with runtime.entered(FakeRuntime()):
        for call in (
            lambda: hello.trigger_and_wait(1, version="1"),  # type: ignore[call-arg]
            lambda: hello.batch_trigger_and_wait([BatchItem(1, version="1")]),
            lambda: batch.trigger_and_wait(hello.item(1, version="1")),
        ):
            with pytest.raises(UsageError, match="runs on the version of the run that waits"):
                call()


@every_option
async def test_every_call_outside_a_run_carries_it(case: Case, server: FakeServer) -> None:
    hello = TaskRef[int, None]("hello")

    await hello.trigger(1, **case.sdk)
    await hello.batch_trigger([BatchItem(1, **case.sdk)])
    await batch.trigger(hello.item(1, **case.sdk))

    alone, _, item, _, mixed = server.asked
    assert _differences(alone.triggers()[0], case) == {}
    assert _differences(_item(item.body.strip()), case) == {}
    assert _differences(_item(mixed.body.strip()), case) == {}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--metadata", "[1]"), "--metadata is a JSON object"),
        (("--metadata", "{"), "--metadata is not JSON"),
        (("--debounce-trailing",), "name the key: --debounce KEY"),
        (("--payload", "Ada"), "text needs its own quotes"),
        (("--delay", "soon"), "not a duration"),
        (("--max-attempts", "251"), "between 1 and 250"),
    ],
)
def test_the_terminal_says_what_is_wrong(
    flags: tuple[str, ...], said: str, server: FakeServer
) -> None:
    done = CliRunner().invoke(app, ["trigger", "hello", *flags])

    assert done.exit_code != 0
    assert said in str(done.exception)
    assert server.asked == []


@pytest.mark.parametrize("name", ["OUTLAST_VERSION", "TRIGGER_VERSION"])
def test_the_version_of_the_environment_counts_unless_a_trigger_names_one(
    name: str, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "20300101.1")

    tasks.trigger_sync("hello", 1)
    tasks.trigger_sync("hello", 1, version="20300101.2")
    tasks.batch_trigger_sync("hello", [1])

    assert [asked.triggers()[0].version for asked in server.asked[:2]] == [
        "20300101.1",
        "20300101.2",
    ]
    assert _item(server.asked[-1].body.strip()).version == "20300101.1"


def test_our_name_of_the_variable_goes_first(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIGGER_VERSION", "theirs")
    monkeypatch.setenv("OUTLAST_VERSION", "ours")

    tasks.trigger_sync("hello", 1)

    assert server.asked[0].triggers()[0].version == "ours"


def _item(line: bytes) -> Trigger:
    return make_trigger("hello", read_item(line), {})


def _differences(sent: Trigger, case: Case) -> dict[str, object]:
    """Return what the case does not expect: the fields it names, and every other one unset."""
    known = msgspec.structs.asdict(Trigger(task="hello", payload="1"))
    known["idempotency_scope"] = known["idempotency_key_shown"] = None
    found = msgspec.structs.asdict(sent)
    ignored = {"request_key", "trace_context", "payload_type"}
    expected = {**known, **case.fields}
    return {
        name: value
        for name, value in found.items()
        if name not in ignored and value != expected[name]
    }
