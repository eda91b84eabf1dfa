"""Runs, bulk actions and schedules from SDK and terminal: what each call asks the server."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from fake_api import Answer, Asked, FakeServer, running_fake
from outlast import runs, schedules
from outlast.cli.main import app
from outlast.protocol.bulk import BulkFilter
from outlast.sdk.filters import RunFilters, in_body, in_query
from outlast.server.queries import RUN_FILTERS

RUN = "/api/v1/runs/run_1"
BULK = "/api/v1/bulk-actions"
SCHEDULE = "/api/v1/schedules/sched_1"
MOMENT = "2026-11-22T00:00:00.000Z"
FLAGS = ("Queued", "Executing", "Waiting", "Completed", "Success", "Failed", "Cancelled", "Test")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """Return a server with one run, one bulk action and one schedule."""
    with running_fake() as fake:
        fake.answer = answer
        monkeypatch.setenv("OUTLAST_API_URL", fake.url)
        monkeypatch.setenv("OUTLAST_SECRET_KEY", "tr_dev_0123456789")
        yield fake


def answer(asked: Asked) -> Answer:
    return 200, {}, json.dumps(reply(asked)).encode()


def reply(asked: Asked) -> dict[str, Any]:
    path, _, query = asked.path.partition("?")
    if path.startswith("/api/v1/schedules"):
        return schedules_reply(asked, path, query)
    if path.startswith(BULK):
        return bulk_reply(asked, path)
    if path.endswith("/result"):
        return {"id": "run_1", "status": "COMPLETED", "taskIdentifier": "hello", "output": 5}
    if path.endswith(("/metadata", "/tags")):
        return {"metadata": {"a": 1}, "message": "added"}
    if path.endswith("/replay"):
        return {"id": "run_2"}
    flags = {f"is{flag}": False for flag in FLAGS}
    return {
        "id": "run_1",
        "status": "DELAYED",
        "taskIdentifier": "hello",
        "createdAt": MOMENT,
        "updatedAt": MOMENT,
        "delayedUntil": MOMENT,
        **flags,
    }


BODY = {
    "id": "bulk_1",
    "type": "CANCEL",
    "status": "COMPLETED",
    "counts": {"total": 3, "success": 2, "failure": 1},
    "createdAt": MOMENT,
}


def bulk_reply(asked: Asked, path: str) -> dict[str, Any]:
    if asked.method == "POST":
        return {"id": "bulk_1"}
    return {"data": [BODY], "pagination": {}} if path == BULK else BODY


def schedules_reply(asked: Asked, path: str, query: str) -> dict[str, Any]:
    body = {
        "id": "sched_1",
        "type": "IMPERATIVE",
        "task": "hello",
        "active": not path.endswith("/deactivate"),
        "generator": {"type": "CRON", "expression": "0 9 * * *", "description": "at nine"},
        "timezone": "UTC",
        "catchup": "latest",
        "nextRun": MOMENT,
        "environments": [],
    }
    if path == "/api/v1/schedules" and asked.method == "GET":
        pages = {"currentPage": 1, "totalPages": 2, "count": 2}
        name = "sched_2" if "page=2" in query else "sched_1"
        return {"data": [{**body, "id": name}], "pagination": pages}
    return body


def test_the_sdk_has_every_filter_that_a_list_can_be_asked_for() -> None:
    """But the region, which is always the same."""
    given = cast("RunFilters", dict.fromkeys(RunFilters.__annotations__, "x"))

    asked = {f"filter{name}" for name in in_query(given, "runs.list")}

    assert asked == RUN_FILTERS.keys() - {"filter[region]"}
    assert in_body(given, "runs.bulk").keys() == {
        field.alias or name for name, field in BulkFilter.model_fields.items() if name != "region"
    }


Given = tuple[tuple[object, ...], dict[str, Any]]
PLACES: dict[str, Any] = {"runs": runs, "bulk": runs.bulk, "schedules": schedules}
SAID: list[tuple[str, str, Given, tuple[str, str, object]]] = [
    ("runs.retrieve", "id", (("run_1",), {}), ("GET", "/api/v3/runs/run_1", None)),
    ("runs.delete", "", (("run_1",), {}), ("DELETE", "/api/outlast/v1/runs/run_1", None)),
    ("runs.cancel", "", (("run_1",), {}), ("POST", "/api/v2/runs/run_1/cancel", None)),
    ("runs.replay", "id", (("run_1",), {}), ("POST", f"{RUN}/replay", {})),
    (
        "runs.reschedule",
        "id",
        (("run_1", "1h30m"), {}),
        ("POST", f"{RUN}/reschedule", {"delay": "5400s"}),
    ),
    (
        "runs.reschedule",
        "id",
        (("run_1", datetime(2030, 1, 1, tzinfo=UTC)), {}),
        ("POST", f"{RUN}/reschedule", {"delay": "2030-01-01T00:00:00.000Z"}),
    ),
    (
        "runs.update_metadata",
        "",
        (("run_1", {"a": 1}), {}),
        ("PUT", f"{RUN}/metadata", {"operations": [{"type": "set", "key": "a", "value": 1}]}),
    ),
    (
        "runs.add_tags",
        "",
        (("run_1", "a", "b"), {}),
        ("POST", f"{RUN}/tags", {"tags": ["a", "b"]}),
    ),
    (
        "bulk.cancel",
        "id",
        ((["run_1"],), {"name": "n"}),
        ("POST", BULK, {"action": "cancel", "runIds": ["run_1"], "name": "n"}),
    ),
    (
        "bulk.replay",
        "id",
        ((), {"tag": "a"}),
        ("POST", BULK, {"action": "replay", "filter": {"tag": "a"}}),
    ),
    ("bulk.retrieve", "id", (("bulk_1",), {}), ("GET", f"{BULK}/bulk_1", None)),
    ("bulk.wait", "id", (("bulk_1",), {}), ("GET", f"{BULK}/bulk_1", None)),
    ("bulk.abort", "", (("bulk_1",), {}), ("POST", f"{BULK}/bulk_1/abort", None)),
    ("schedules.retrieve", "id", (("sched_1",), {}), ("GET", SCHEDULE, None)),
    ("schedules.activate", "id", (("sched_1",), {}), ("POST", f"{SCHEDULE}/activate", None)),
    ("schedules.deactivate", "id", (("sched_1",), {}), ("POST", f"{SCHEDULE}/deactivate", None)),
    ("schedules.delete", "", (("sched_1",), {}), ("DELETE", SCHEDULE, None)),
    (
        "schedules.update",
        "id",
        (("sched_1",), {"task": "hello", "cron": "0 9 * * *"}),
        ("PUT", SCHEDULE, {"task": "hello", "cron": "0 9 * * *"}),
    ),
    (
        "schedules.create",
        "id",
        (("hello",), {"cron": "0 9 * * *", "deduplication_key": "k"}),
        (
            "POST",
            "/api/v1/schedules",
            {"task": "hello", "cron": "0 9 * * *", "deduplicationKey": "k"},
        ),
    ),
]
each_call = pytest.mark.parametrize(("call", "shows", "given", "asks"), SAID)


def found(call: str) -> Callable[..., Any]:
    place, _, name = call.partition(".")
    made: Callable[..., Any] = getattr(PLACES[place], name)
    return made


def first(server: FakeServer) -> tuple[str, str, object]:
    asked = server.asked[0]
    return asked.method, asked.path, json.loads(asked.body) if asked.body else None


@each_call
async def test_a_call_asks_the_server(
    call: str, shows: str, given: Given, asks: object, server: FakeServer
) -> None:
    shown = await found(call)(*given[0], **given[1])

    assert first(server) == asks
    assert not shows or getattr(shown, shows)


@each_call
def test_its_blocking_twin_asks_the_same(
    call: str, shows: str, given: Given, asks: object, server: FakeServer
) -> None:
    shown = found(f"{call}_sync")(*given[0], **given[1])

    assert first(server) == asks
    assert not shows or getattr(shown, shows)


async def test_a_run_known_by_its_id_is_waited_for(server: FakeServer) -> None:
    assert await runs.result("run_1", timeout=5) == 5
    assert (await runs.poll("run_1", timeout=5)).id == "run_1"


def test_a_run_known_by_its_id_is_waited_for_blocking(server: FakeServer) -> None:
    assert runs.result_sync("run_1", timeout=5) == 5
    assert runs.poll_sync("run_1", timeout=5).id == "run_1"


async def test_lists_go_through_every_page(server: FakeServer) -> None:
    assert [one.id async for one in schedules.list()] == ["sched_1", "sched_2"]
    assert [one.id async for one in runs.bulk.list()] == ["bulk_1"]


def test_blocking_lists_go_through_every_page(server: FakeServer) -> None:
    assert [one.id for one in schedules.list_sync()] == ["sched_1", "sched_2"]
    assert [one.id for one in runs.bulk.list_sync()] == ["bulk_1"]


@pytest.mark.parametrize(
    ("arguments", "asks", "shown"),
    [
        ("runs delete run_1", ("DELETE", "/api/outlast/v1/runs/run_1", None), "run_1  is deleted"),
        ("runs replay run_1", ("POST", f"{RUN}/replay", {}), "run_2  replays run_1"),
        (
            "runs reschedule run_1 1h",
            ("POST", f"{RUN}/reschedule", {"delay": "1h"}),
            "run_1  starts at 2026-11-2",
        ),
        (
            "runs bulk cancel --status queued --tag a --period 1d --name n",
            (
                "POST",
                BULK,
                {
                    "action": "cancel",
                    "filter": {"status": ["QUEUED"], "tag": ["a"], "period": "1d"},
                    "name": "n",
                },
            ),
            "COMPLETED  3 of 3, 1 failed",
        ),
        (
            "runs bulk replay run_1 run_2 --wait",
            ("POST", BULK, {"action": "replay", "runIds": ["run_1", "run_2"]}),
            "bulk_1",
        ),
        ("runs bulk list", ("GET", f"{BULK}?page%5Bsize%5D=20", None), "bulk_1"),
        ("runs bulk get bulk_1", ("GET", f"{BULK}/bulk_1", None), "3 of 3, 1 failed"),
        ("runs bulk abort bulk_1", ("POST", f"{BULK}/bulk_1/abort", None), "bulk_1  is aborted"),
        (
            "schedules list --task hello",
            ("GET", "/api/v1/schedules?filter%5Btask%5D=hello&page=1&perPage=100", None),
            "and 1 more",
        ),
        ("schedules activate sched_1", ("POST", f"{SCHEDULE}/activate", None), "sched_1  is on"),
        (
            "schedules deactivate sched_1",
            ("POST", f"{SCHEDULE}/deactivate", None),
            "sched_1  is off",
        ),
        ("schedules delete sched_1", ("DELETE", SCHEDULE, None), "sched_1  is deleted"),
    ],
)
def test_the_terminal_asks_the_same(
    arguments: str, asks: object, shown: str, server: FakeServer
) -> None:
    done = CliRunner().invoke(app, arguments.split())

    assert done.exit_code == 0, done.exception
    assert first(server) == asks
    assert shown in done.output


def test_scripts_get_schedules_as_json(server: FakeServer) -> None:
    done = CliRunner().invoke(app, ["schedules", "list", "--json"])

    assert json.loads(done.stdout)["data"][0]["id"] == "sched_1"


@pytest.mark.parametrize("arguments", [(), ("run_1", "--tag", "a")])
def test_a_bulk_action_takes_either_ids_or_options(
    arguments: tuple[str, ...], server: FakeServer
) -> None:
    done = CliRunner().invoke(app, ["runs", "bulk", "cancel", *arguments])

    assert "name the runs by their ids, or by options" in str(done.exception)
    assert server.asked == []
