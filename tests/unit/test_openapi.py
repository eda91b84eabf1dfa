"""The document of the API and the routes of the application are the same, both ways."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import FastAPI
from starlette.routing import BaseRoute

from outlast.dashboard.reference import reference
from outlast.engine.engine import Engine
from outlast.server.app import create_app
from outlast.server.openapi import TAGS, document, operations
from outlast.server.settings import ServerSettings


@pytest.fixture(scope="module")
def app() -> FastAPI:
    engine = cast("Engine", SimpleNamespace(gateway=None, changes=None))
    return create_app(ServerSettings(database_url="", encryption_keys=()), engine)


@pytest.fixture(scope="module")
def found(app: FastAPI) -> dict[str, Any]:
    return document(app)


def served(routes: list[BaseRoute]) -> set[str]:
    """Return method and path of every route, a WebSocket's handshake too."""
    made = set()
    for route in routes:
        inner = getattr(getattr(route, "original_router", None), "routes", None)
        if inner is not None:
            made |= served(inner)
            continue
        path: str = getattr(route, "path_format")  # noqa: B009 - of any kind of route
        methods = set(getattr(route, "methods", None) or {"GET"})
        made |= {f"{one} {path}" for one in methods - ({"HEAD"} if "GET" in methods else set())}
    return made


def test_every_route_is_in_the_document_and_nothing_else(
    app: FastAPI, found: dict[str, Any]
) -> None:
    told = {f"{method.upper()} {path}" for path, method, _ in operations(found)}

    assert told == served(app.routes)
    assert len(told) > 100


def test_every_operation_says_who_may_call_it_what_it_answers_and_what_it_is(
    found: dict[str, Any],
) -> None:
    for path, method, operation in operations(found):
        where = f"{method} {path}"
        assert "security" in operation, f"{where}: say who may call it: **promise(…)"
        assert operation["tags"][0] in TAGS, where
        assert operation["description"], where
        answers = operation["responses"]
        assert any(status < "400" for status in answers) or operation["tags"] == ["not here"], where
        assert {"400", "421"} <= answers.keys(), where
        if operation["security"]:
            assert {"401", "403", "429", "503"} <= answers.keys(), where
        for status, told in answers.items():
            assert told["description"], f"{where} {status}"


def test_every_reference_leads_somewhere(found: dict[str, Any]) -> None:
    waiting: list[object] = [found]
    shapes = found["components"]["schemas"]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if isinstance(ref := one.get("$ref"), str):
                assert ref.removeprefix("#/components/schemas/") in shapes, ref
            assert "$defs" not in one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def test_an_absent_value_is_no_null_in_an_answer(found: dict[str, Any]) -> None:
    """The official client makes a date of a null: the first of January 1970."""
    run = found["components"]["schemas"]["RunDetail"]

    assert run["properties"]["startedAt"] == {"format": "date-time", "type": "string"}
    assert "startedAt" not in run["required"]
    assert {"id", "status", "attemptCount"} <= set(run["required"])
    queue = found["components"]["schemas"]["QueueBody"]
    assert "concurrencyLimit" in queue["required"]  # the contract wants null here


def test_the_page_shows_every_operation_once(found: dict[str, Any]) -> None:
    page = reference(found)
    routes = [route for group in page.groups for route in group.routes]
    shown = {f"{route.method} {route.path}" for route in routes}
    told = {f"{method.upper()} {path}" for path, method, _ in operations(found)}

    assert len(shown) == len(routes) == page.count
    assert {one for one in told if one not in shown} <= {
        f"{method} {path}"
        for path in found["paths"]
        if f"ANY {path}" in shown
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
    }
    trigger = next(one for one in routes if one.path.endswith("/trigger"))
    assert trigger.credentials == ("a secret key",)
    assert trigger.scopes == ("trigger:tasks:{task_id}",)
    assert [field.name for field in trigger.body] == ["payload", "options"]
    assert trigger.curl.endswith("""-d '{"payload": {"name": "Ada"}}'""")
