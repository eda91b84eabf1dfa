"""Environment variables from the SDK and the terminal: what each asks the server, and shows."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fake_api import Answer, Asked, FakeServer, running_fake
from outlast import envvars
from outlast.cli.main import app

OWN = "/api/v1/projects/proj_1/envvars/stg"
ELSEWHERE = "/api/v1/projects/proj_2/envvars/prod"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """Return a server with a plain variable and a secret one."""
    with running_fake() as fake:
        fake.answer = answer
        monkeypatch.setenv("OUTLAST_API_URL", fake.url)
        monkeypatch.setenv("OUTLAST_SECRET_KEY", "tr_stg_0123456789")
        yield fake


def answer(asked: Asked) -> Answer:
    return 200, {}, json.dumps(reply(asked)).encode()


def reply(asked: Asked) -> object:
    if asked.path == "/api/outlast/v1/environment":
        return {"id": "env_1", "slug": "stg", "project": "proj_1", "workers": []}
    if asked.method != "GET":
        return {"success": True}
    plain = {"name": "A", "value": "apple", "isSecret": False}
    secret = {"name": "B", "value": "<redacted>", "isSecret": True}
    return plain if asked.path.endswith("/A") else [plain, secret]


def told(server: FakeServer) -> list[tuple[str, str, object]]:
    """Return what was asked besides where the key belongs."""
    return [
        (asked.method, asked.path, asked.json() if asked.body else None)
        for asked in server.asked
        if asked.path != "/api/outlast/v1/environment"
    ]


CALLS: list[tuple[str, tuple[object, ...], dict[str, Any], tuple[str, str, object]]] = [
    ("list", (), {}, ("GET", "", None)),
    ("retrieve", ("A",), {}, ("GET", "/A", None)),
    ("create", ("A", "x"), {}, ("POST", "", {"name": "A", "value": "x", "isSecret": False})),
    ("update", ("A", "x"), {"secret": True}, ("PUT", "/A", {"value": "x", "isSecret": True})),
    ("delete", ("A",), {}, ("DELETE", "/A", None)),
    (
        "upload",
        ({"A": "x"},),
        {"override": True},
        ("POST", "/import", {"variables": {"A": "x"}, "override": True, "isSecret": False}),
    ),
]
each_call = pytest.mark.parametrize(("name", "given", "options", "asks"), CALLS)


@each_call
async def test_a_call_is_about_the_environment_of_the_key(
    name: str,
    given: tuple[object, ...],
    options: dict[str, Any],
    asks: tuple[str, str, object],
    server: FakeServer,
) -> None:
    call: Callable[..., Any] = getattr(envvars, name)

    await call(*given, **options)
    await call(*given, **options, project="proj_2", environment="prod")

    method, path, said = asks
    assert told(server) == [(method, OWN + path, said), (method, ELSEWHERE + path, said)]


@each_call
def test_its_blocking_twin_asks_the_same(
    name: str,
    given: tuple[object, ...],
    options: dict[str, Any],
    asks: tuple[str, str, object],
    server: FakeServer,
) -> None:
    call: Callable[..., Any] = getattr(envvars, f"{name}_sync")

    call(*given, **options)
    call(*given, **options, project="proj_2", environment="prod")

    method, path, said = asks
    assert told(server) == [(method, OWN + path, said), (method, ELSEWHERE + path, said)]


async def test_variables_are_read_by_name(server: FakeServer) -> None:
    found = {one.name: (one.value, one.is_secret) for one in await envvars.list()}

    assert found == {"A": ("apple", False), "B": ("<redacted>", True)}


def shown(*arguments: str, said: str | None = None) -> str:
    result = CliRunner().invoke(app, ["env", *arguments], input=said)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_list_shows_values_only_when_asked_to(server: FakeServer) -> None:
    assert "apple" not in shown("list")
    with_values = shown("list", "--show-values")
    assert "apple" in with_values
    assert "redacted" not in with_values


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("A", "x"), None), (("A",), "x\n"), (("A", "--from", "env:ELSEWHERE"), None)],
)
def test_a_value_is_set_from_wherever_it_is(
    server: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str | None,
) -> None:
    monkeypatch.setenv("ELSEWHERE", "x")

    shown("set", *arguments, "--secret", said=said)

    body = {"variables": {"A": "x"}, "override": True, "isSecret": True}
    assert told(server) == [("POST", f"{OWN}/import", body)]


def test_a_file_is_imported_into_a_named_environment(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nexport B='2'\n")

    shown("import", str(tmp_path / ".env"), "--project", "proj_2", "--env", "prod")

    body = {"variables": {"A": "1", "B": "2"}, "override": False, "isSecret": False}
    assert told(server) == [("POST", f"{ELSEWHERE}/import", body)]


def test_a_file_with_a_fault_is_refused_without_its_text(
    server: FakeServer, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("A=1\nhunter two\n")

    result = CliRunner().invoke(app, ["env", "import", str(tmp_path / ".env")])

    assert result.exit_code == 1
    assert "line 2" in str(result.exception)
    assert "hunter" not in f"{result.output}{result.exception}"
    assert told(server) == []


def test_a_variable_is_deleted(server: FakeServer) -> None:
    assert "A is deleted" in shown("unset", "A")
    assert told(server) == [("DELETE", f"{OWN}/A", None)]
