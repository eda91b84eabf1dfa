"""The application as a whole: health, unknown paths, wrong methods, faults of our own."""

import logging

import httpx
import pytest

from api_server import Api
from outlast.engine.errors import Contention, EngineError, Overloaded, SchemaMismatch
from outlast.server.problems import of


async def test_a_server_with_a_database_is_ready(api: Api) -> None:
    assert (await api.client.get("/healthz")).json() == {"ok": True}
    assert (await api.client.get("/readyz")).json() == {"ok": True}


async def test_a_stopping_server_is_not_ready_but_alive(api: Api) -> None:
    api.app.state.services.stopping.set()

    assert (await api.client.get("/readyz")).status_code == 503
    assert (await api.client.get("/healthz")).status_code == 200


async def test_without_a_database_it_is_not_ready(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ready() -> None:
        raise Contention("the database is away")

    monkeypatch.setattr(api.engine, "ready", ready)

    reply = await api.client.get("/readyz")

    assert reply.status_code == 503
    assert reply.json()["error"] == "the database is not available"


async def test_an_unknown_path_and_a_wrong_method_have_the_same_kind_of_body(api: Api) -> None:
    nowhere = await api.client.get("/api/v1/nowhere")
    wrong = await api.client.get("/api/v1/tasks/hello/trigger")

    assert (nowhere.status_code, nowhere.json()["error"]) == (404, "Not Found")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.json()["code"] == "method_not_allowed"
    for reply in (nowhere, wrong):
        assert reply.headers["x-should-retry"] == "false"
        assert reply.headers["x-content-type-options"] == "nosniff"


async def test_a_fault_of_ours_tells_nothing_about_itself(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trigger(*_: object, **__: object) -> None:
        raise ValueError("hunter2-secret")

    monkeypatch.setattr(api.engine, "trigger", trigger)
    transport = httpx.ASGITransport(api.app, raise_app_exceptions=False)

    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost", headers=api.client.headers
    ) as client:
        reply = await client.post("/api/v1/tasks/hello/trigger", json={})

    assert reply.status_code == 500
    assert reply.json() == {"error": "Something went wrong", "code": "internal"}
    assert "hunter2" not in reply.text
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "x-should-retry" not in reply.headers


async def test_a_database_fault_does_not_show_its_message(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def trigger(*_: object, **__: object) -> None:
        raise EngineError("insert into run values ('hunter2')")

    monkeypatch.setattr(api.engine, "trigger", trigger)

    with caplog.at_level(logging.ERROR):
        reply = await api.client.post("/api/v1/tasks/hello/trigger", json={})

    assert reply.status_code == 500
    assert "hunter2" not in reply.text
    [record] = [record for record in caplog.records if record.name == "outlast.server.problems"]
    assert vars(record)["route"] == "/api/v1/tasks/{task_id:path}/trigger"


async def test_a_full_server_says_when_to_come_back(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trigger(*_: object, **__: object) -> None:
        raise Overloaded("too many", retry_after=2.0)

    monkeypatch.setattr(api.engine, "trigger", trigger)

    reply = await api.client.post("/api/v1/tasks/hello/trigger", json={})

    assert reply.status_code == 429
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["retry-after"] == "2"
    assert int(reply.headers["x-ratelimit-reset"]) > 1_700_000_000_000  # milliseconds
    body = reply.json()
    assert {"title", "status", "type", "detail", "reset", "limit", "remaining", "error"} <= set(
        body
    )
    assert "x-should-retry" not in reply.headers


@pytest.mark.parametrize(
    ("error", "status"), [(Contention("busy"), 503), (SchemaMismatch("old"), 503)]
)
def test_what_the_database_cannot_do_now_may_be_repeated(error: EngineError, status: int) -> None:
    problem = of(error)

    assert problem.status == status
    assert problem.headers["retry-after"] == "1"


async def test_the_gate_stands_before_everything(api: Api) -> None:
    for path in ("/healthz", "/api/v1/runs", "/nowhere"):
        assert (await api.client.get(path, headers={"host": "evil.com"})).status_code == 421


async def test_the_environment_names_its_workers(api: Api) -> None:
    reply = await api.client.get("/api/outlast/v1/environment")

    body = reply.json()
    assert (body["slug"], body["project"]) == ("dev", "proj_test")
    assert body["version"] == body["workers"][0]["version"]
    assert body["workers"][0]["name"] == "session_a"
