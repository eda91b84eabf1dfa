"""Queues and idempotency keys from the SDK and the terminal: what each call asks the server."""

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from fake_api import Answer, Asked, FakeServer, running_fake
from outlast import Queue, UsageError, idempotency_keys, queues, task
from outlast.cli.main import app
from outlast.sdk.registry import registry

EXPORT = Queue("export/daily")
PATH = "/api/v1/queues/export%252Fdaily"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """Return a server with two queues, one on each page."""
    with running_fake() as fake:
        fake.answer = answer
        monkeypatch.setenv("OUTLAST_API_URL", fake.url)
        monkeypatch.setenv("OUTLAST_SECRET_KEY", "tr_dev_0123456789")
        yield fake


def answer(asked: Asked) -> Answer:
    said = json.loads(asked.body) if asked.body else {}
    return 200, {}, json.dumps(reply(asked.path, said)).encode()


def reply(path: str, said: dict[str, Any]) -> dict[str, Any]:
    if path.startswith("/api/v1/queues?"):
        pages = {"currentPage": 1, "totalPages": 2, "count": 2}
        return {"data": [body("b" if "page=2" in path else "a")], "pagination": pages}
    if "/metrics" in path:
        delays = {"delayP50": 0.5, "delayP95": 2.0}
        return {"running": 1, "queued": 2, "oldestWait": 90, "started": 7, "points": [], **delays}
    if "/environment/" in path:
        rest = {"concurrencyLimit": 10, "burstFactor": 2.0, "running": 1, "queued": 2}
        return {"id": "env_1", "paused": path.endswith("/pause"), **rest}
    if "/idempotencyKeys/" in path:
        return {"id": "key"}
    return body("export/daily", said)


def body(name: str, said: dict[str, Any] | None = None) -> dict[str, Any]:
    said = said or {}
    limit = said.get("concurrencyLimit")
    where = {"current": limit, "base": 1, "override": limit}
    return {
        "id": "queue_" + "0" * 25,
        "name": name,
        "type": "custom",
        "running": 1,
        "queued": 2,
        "paused": said.get("action") == "pause",
        "concurrencyLimit": limit,
        "concurrency": {**where, "overriddenAt": None, "overriddenBy": None},
        "totalLimit": None,
        "maxQueued": None,
        "rate": None,
    }


CALLS: list[tuple[str, tuple[object, ...], str, dict[str, object] | None]] = [
    ("retrieve", (EXPORT,), f"{PATH}?type=custom", None),
    ("retrieve", ("task/hello",), "/api/v1/queues/hello?type=task", None),
    ("pause", (EXPORT,), f"{PATH}/pause", {"type": "custom", "action": "pause"}),
    ("resume", ("export/daily",), f"{PATH}/pause", {"type": "custom", "action": "resume"}),
    (
        "override_concurrency_limit",
        (EXPORT, 5),
        f"{PATH}/concurrency/override",
        {"type": "custom", "concurrencyLimit": 5},
    ),
    ("reset_concurrency_limit", (EXPORT,), f"{PATH}/concurrency/reset", {"type": "custom"}),
]
each_call = pytest.mark.parametrize(("name", "given", "path", "said"), CALLS)


@each_call
async def test_a_call_asks_for_its_queue(
    name: str, given: tuple[object, ...], path: str, said: object, server: FakeServer
) -> None:
    call: Callable[..., Any] = getattr(queues, name)

    shown = await call(*given)

    [asked] = server.asked
    assert (asked.path, json.loads(asked.body) if asked.body else None) == (path, said)
    assert shown.name == "export/daily"


@each_call
def test_its_blocking_twin_asks_the_same(
    name: str, given: tuple[object, ...], path: str, said: object, server: FakeServer
) -> None:
    call: Callable[..., Any] = getattr(queues, f"{name}_sync")

    call(*given)

    [asked] = server.asked
    assert (asked.path, json.loads(asked.body) if asked.body else None) == (path, said)


async def test_lists_go_through_every_page(server: FakeServer) -> None:
    assert [queue.name async for queue in queues.list()] == ["a", "b"]


def test_blocking_lists_go_through_every_page(server: FakeServer) -> None:
    assert [queue.name for queue in queues.list_sync()] == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], None),
        (["--runs", "90", "--logs", "forever"], {"retentionDays": 90, "logRetentionDays": None}),
        (["--streams", "3"], {"streamRetentionDays": 3}),
    ],
)
def test_the_terminal_shows_and_sets_how_long_what_is_kept(
    options: list[str], said: object, server: FakeServer
) -> None:
    done = CliRunner().invoke(app, ["retention", *options])

    [asked] = server.asked
    assert (json.loads(asked.body) if asked.body else None) == said
    assert "runs      for ever" in done.output


def test_days_are_a_number_or_for_ever(server: FakeServer) -> None:
    done = CliRunner().invoke(app, ["retention", "--runs", "a week"])

    assert "use a whole number, or forever" in str(done.exception)
    assert server.asked == []


async def test_a_queue_without_a_name_is_refused(server: FakeServer) -> None:
    with pytest.raises(UsageError, match="name the queue"):
        await queues.pause(Queue())


def hashed(*parts: str) -> str:
    return hashlib.sha256("-".join(parts).encode()).hexdigest()


KEYS: list[tuple[object, dict[str, Any], str]] = [
    ("order", {}, hashed("order")),
    (["order", "7"], {"scope": "global"}, hashed("order", "7")),
    ("order", {"parent_run_id": "run_1"}, hashed("order", "run_1")),
    (
        "order",
        {"scope": "attempt", "parent_run_id": "run_1", "attempt_number": 2},
        hashed("order", "run_1", "2"),
    ),
    ("order", {"scope": "global", "parent_run_id": "run_1"}, hashed("order")),
    (hashed("order"), {}, hashed("order")),
]


@pytest.mark.parametrize(("key", "where", "stored"), KEYS)
async def test_a_key_is_reset_by_the_hash_it_is_stored_under(
    key: Any, where: dict[str, Any], stored: str, server: FakeServer
) -> None:
    """The same as the trigger sent, whoever resets it."""
    await idempotency_keys.reset("hello", key, **where)

    [asked] = server.asked
    assert asked.path == f"/api/v1/idempotencyKeys/{stored}/reset"
    assert asked.json() == {"taskIdentifier": "hello"}


def test_a_key_is_reset_blocking_and_by_task(server: FakeServer) -> None:
    with registry.isolated():

        @task("greet")
        async def greet() -> None: ...

    idempotency_keys.reset_sync(greet, idempotency_keys.create("order", scope="global"))

    [asked] = server.asked
    assert asked.path == f"/api/v1/idempotencyKeys/{hashed('order')}/reset"
    assert asked.json() == {"taskIdentifier": "greet"}


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"attempt_number": 1}, "give parent_run_id too"),
        ({"scope": "attempt", "parent_run_id": "run_1"}, "needs attempt_number"),
        ({"scope": "galaxy"}, "use 'run', 'attempt' or 'global'"),
    ],
)
async def test_a_reset_that_cannot_name_its_key_is_refused(
    where: dict[str, Any], said: str, server: FakeServer
) -> None:
    with pytest.raises(UsageError, match=said):
        await idempotency_keys.reset("hello", "order", **where)
    assert server.asked == []


@pytest.mark.parametrize(
    ("arguments", "path", "shown"),
    [
        (("list",), "/api/v1/queues?page=2&perPage=100", "b"),
        (("get", "export/daily"), f"{PATH}?type=custom", "1m 30s"),
        (("pause", "export/daily"), f"{PATH}/pause", "is paused; 1 running, 2 queued"),
        (("resume", "export/daily"), f"{PATH}/pause", "goes on; 1 running, 2 queued"),
        (("pause",), "/api/outlast/v1/environment/pause", "env_1  is paused"),
        (("resume",), "/api/outlast/v1/environment/resume", "env_1  goes on"),
        (("limit", "export/daily", "5"), f"{PATH}/concurrency/override", "5 (set; declared 1)"),
        (("limit", "export/daily", "--reset"), f"{PATH}/concurrency/reset", "export/daily"),
    ],
)
def test_the_terminal_steers_queues(
    arguments: tuple[str, ...], path: str, shown: str, server: FakeServer
) -> None:
    done = CliRunner().invoke(app, ["queues", *arguments])

    assert done.exit_code == 0, done.exception
    assert server.asked[-1].path == path
    assert shown in done.output


@pytest.mark.parametrize("arguments", [("list", "--json"), ("get", "export/daily", "--json")])
def test_scripts_get_json(arguments: tuple[str, ...], server: FakeServer) -> None:
    done = CliRunner().invoke(app, ["queues", *arguments])

    assert json.loads(done.stdout)


@pytest.mark.parametrize("arguments", [(), ("5", "--reset")])
def test_a_limit_is_either_given_or_reset(arguments: tuple[str, ...], server: FakeServer) -> None:
    done = CliRunner().invoke(app, ["queues", "limit", "export/daily", *arguments])

    assert "give either a limit or --reset" in str(done.exception)
    assert server.asked == []
