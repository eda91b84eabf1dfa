"""Keys and tokens: who gets in, and what everybody else is told."""

import asyncio
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


async def test_a_key_that_comes_too_often_is_told_when_to_come_back(api: Api) -> None:
    """The official client sleeps until the reset, in milliseconds since the epoch."""
    await api.engine.tenancy.limit_rate(api.platform.environment.id, 60, 2)

    first = await api.client.post("/api/v1/auth/jwt/claims")
    await api.client.post("/api/v1/auth/jwt/claims")
    late = await api.client.post("/api/v1/auth/jwt/claims")
    async with api.with_bearer(signed(api)) as client:
        other = await client.get("/api/v1/runs")

    assert first.headers["x-ratelimit-limit"] == "2"
    assert first.headers["x-ratelimit-remaining"] == "1"
    assert late.status_code == 429
    assert late.headers["content-type"] == "application/problem+json"
    assert late.headers["x-ratelimit-remaining"] == "0"
    assert 0 < int(late.headers["x-ratelimit-reset"]) / 1000 - time.time() <= 2
    assert "x-should-retry" not in late.headers
    assert late.json()["title"] == "Rate limit exceeded"
    assert other.status_code == 200  # a bucket of its own


async def test_without_a_limit_nothing_is_said(api: Api) -> None:
    reply = await api.client.post("/api/v1/auth/jwt/claims")

    assert "x-ratelimit-limit" not in reply.headers


async def test_a_runs_token_hands_out_no_more_than_it_may_do(api: Api) -> None:
    """Tokens of workers make tokens for browsers; those of browsers make none."""
    environment = api.platform.environment
    lent = await api.engine.tokens.mint(environment, ("write:all",), worker="session_1")
    async with api.with_bearer(lent) as client:
        good = await client.post(
            "/api/v1/auth/public-tokens", json={"scopes": ["trigger:tasks:hello"]}
        )
        more = await client.post(
            "/api/v1/auth/public-tokens", json={"scopes": ["write:runs", "read:runs", "admin"]}
        )

    assert good.status_code == 200
    assert more.status_code == 403
    assert more.json()["code"] == "scopes_exceed_key_access"
    assert more.json()["deniedScopes"] == ["read:runs", "admin"]


async def test_a_revoked_key_is_refused_at_once_on_every_server(api: Api) -> None:
    other = await api.platform.server()
    made = await api.engine.keys.create(api.platform.environment.id, "ci", seconds=3600)
    for engine in (api.engine, other):
        assert await engine.tenancy.open_key(made.secret) is not None

    await api.engine.keys.revoke(api.platform.environment.id, made.id)

    assert await api.engine.tenancy.open_key(made.secret) is None
    async with asyncio.timeout(2):  # less than what is kept without a notice
        while await other.tenancy.open_key(made.secret) is not None:  # noqa: ASYNC110 - a cache tells nobody
            await asyncio.sleep(0.01)
