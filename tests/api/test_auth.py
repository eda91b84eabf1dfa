"""Keys and tokens: who gets in, and what everybody else is told."""

import time
from typing import Any

import jwt
import pytest

from api_server import Api
from outlast.engine.tokens import AUDIENCE, ISSUER
from outlast.server.scopes import is_scope, reaches, reaches_every


def signed(api: Api, key: str | None = None, **changes: Any) -> str:
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": int(time.time()),
        "exp": int(time.time()) + 60,
        "sub": api.platform.environment.id,
        "pub": True,
        "scopes": ["admin"],
    }
    return jwt.encode(claims | changes, key or api.key, algorithm="HS256")


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic x", "Bearer tr_dev_x", "Bearer a.b.c"]
)
async def test_who_is_unknown_gets_a_401_that_tells_nothing(api: Api, header: str | None) -> None:
    async with api.with_bearer(None) as client:
        headers = {} if header is None else {"authorization": header}
        reply = await client.post("/api/v1/auth/jwt/claims", headers=headers)

    assert reply.status_code == 401
    assert reply.headers["x-should-retry"] == "false"
    assert "tr_dev_x" not in reply.text


async def test_a_root_key_gets_the_claims_it_signs(api: Api) -> None:
    reply = await api.client.post("/api/v1/auth/jwt/claims", headers={"content-length": "0"})

    assert reply.json() == {"sub": api.platform.environment.id, "pub": True}


async def test_a_token_that_the_caller_signed_is_good(api: Api) -> None:
    async with api.with_bearer(signed(api)) as client:
        reply = await client.post("/api/v1/tasks/hello/trigger", json={})

    assert reply.status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"iss": "https://evil.com"},
        {"aud": "https://evil.com"},
        {"sub": "env_other"},
        {"pub": False},
        {"key": "tr_dev_" + "x" * 32},
    ],
)
async def test_a_token_that_is_not_right_is_a_401(api: Api, changes: dict[str, Any]) -> None:
    async with api.with_bearer(signed(api, **changes)) as client:
        reply = await client.post("/api/v1/tasks/hello/trigger", json={})

    assert reply.status_code == 401


async def test_an_additional_key_gets_whole_tokens(api: Api) -> None:
    made = await api.engine.keys.create(api.platform.environment.id)

    async with api.with_bearer(made.secret) as client:
        reply = await client.post(
            "/api/v1/auth/public-tokens",
            json={"scopes": ["read:runs"], "expirationTime": "1h", "oneTimeUse": True},
        )

    token = await api.engine.tokens.verify(reply.json()["token"])
    assert token.scopes == ("read:runs",)
    assert token.one_time
    assert token.expires_at == pytest.approx(time.time() + 3600, abs=30)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"scopes": []}, 400),
        ({"scopes": ["nonsense"]}, 422),
        ({"scopes": ["read:runs"], "expirationTime": "soon"}, 422),
        ({"scopes": ["read:runs"], "expirationTime": 5}, 422),
    ],
)
async def test_a_token_request_that_is_wrong_is_refused(
    api: Api, body: dict[str, Any], status: int
) -> None:
    reply = await api.client.post("/api/v1/auth/public-tokens", json=body)

    assert reply.status_code == status


async def test_a_token_makes_no_tokens(api: Api) -> None:
    async with api.with_bearer(signed(api)) as client:
        claims = await client.post("/api/v1/auth/jwt/claims")
        token = await client.post("/api/v1/auth/public-tokens", json={"scopes": ["admin"]})

    assert (claims.status_code, token.status_code) == (403, 403)


@pytest.mark.parametrize(
    ("scope", "action", "resources", "expected"),
    [
        ("read:runs:run_1", "read", {"runs": ["run_1"]}, True),
        ("read:runs:run_1", "read", {"runs": ["run_2"]}, False),
        ("read:runs:run_1", "read", {"runs": None}, False),
        ("read:runs", "read", {"runs": ["run_2"]}, True),
        ("read:tags:a:b", "read", {"runs": ["run_1"], "tags": ["a:b"]}, True),
        ("read:runs", "write", {"runs": ["run_1"]}, False),
        ("write:tasks", "trigger", {"tasks": ["t"]}, True),
        ("write:tasks:t", "batchTrigger", {"tasks": ["t"]}, True),
        ("trigger:tasks:t", "write", {"tasks": ["t"]}, False),
        ("*:runs", "write", {"runs": ["run_1"]}, True),
        ("read:all", "read", {"runs": ["run_1"]}, True),
        ("admin", "write", {"runs": ["run_1"]}, True),
        ("admin:x", "write", {"runs": ["run_1"]}, False),
        ("", "read", {"runs": ["run_1"]}, False),
    ],
)
def test_a_scope_reaches_what_it_names(
    scope: str, action: str, resources: dict[str, list[str] | None], expected: bool
) -> None:
    assert reaches([scope], action, resources) is expected


def test_every_object_has_to_be_reached() -> None:
    scopes = ["batchTrigger:tasks:a", "batchTrigger:tasks:b"]

    assert reaches_every(scopes, "batchTrigger", "tasks", ["a", "b"])
    assert not reaches_every(scopes, "batchTrigger", "tasks", ["a", "c"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("read:runs", True), ("*:all", True), ("admin", True), ("x", False), (":a", False)],
)
def test_a_scope_has_a_form(text: str, expected: bool) -> None:
    assert is_scope(text) is expected
