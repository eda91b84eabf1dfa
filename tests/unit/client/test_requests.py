"""Requests, retries and errors, without any I/O; and the two executors that do it."""

import asyncio
import base64
import hashlib
import hmac
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_api import Answer, Asked, FakeServer
from outlast.client import clients, requests, runs
from outlast.client.errors import ApiError, NotFoundError, RateLimitError, ServerError
from outlast.client.requests import Reply, error_of, retry_delay
from outlast.client.tokens import sign


def reply(status: int, body: object = None, **headers: str) -> Reply:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(body).encode(), names)


@pytest.mark.parametrize(
    ("answer", "attempt", "expected"),
    [
        (None, 1, 1.0),
        (None, 3, 2.56),
        (None, 5, None),
        (reply(500), 1, 1.0),
        (reply(409), 1, 1.0),
        (reply(408), 2, 1.6),
        (reply(404), 1, None),
        (reply(404, x_should_retry="true"), 1, 1.0),
        (reply(500, x_should_retry="false"), 1, None),
        (reply(429), 1, 1.0),
        (reply(429, x_ratelimit_reset="1002500"), 1, 2.5),
        (reply(429, retry_after="7"), 1, 7.0),
        (reply(429, retry_after="soon"), 1, 1.0),
    ],
)
def test_retries_follow_the_contract(
    answer: Reply | None, attempt: int, expected: float | None
) -> None:
    assert retry_delay(answer, attempt, now=1000.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answer", "cls", "message", "code"),
    [
        (reply(404, {"error": "Run not found"}), NotFoundError, "Run not found", None),
        (reply(429, {"error": {"message": "slow", "code": "x"}}), RateLimitError, "slow", "x"),
        (reply(418, {"error": "tea", "code": "pot"}), ApiError, "tea", "pot"),
        (reply(502, "bad gateway"), ServerError, "GET /api/v3/runs/run_1: status 502", None),
        (Reply(500, b"<html>", {}), ServerError, "GET /api/v3/runs/run_1: status 500", None),
    ],
)
def test_errors_say_what_the_server_said(
    answer: Reply, cls: type[ApiError], message: str, code: str | None
) -> None:
    error = error_of(runs.retrieve("run_1"), answer)

    assert (type(error), error.message, error.code) == (cls, message, code)


@given(st.binary(max_size=40), st.sampled_from([200, 400, 500]))
def test_no_answer_breaks_the_client(body: bytes, status: int) -> None:
    with pytest.raises(ApiError):
        requests.read(runs.retrieve("run_1"), Reply(status, body, {}))


def test_ids_cannot_leave_their_place_in_the_path() -> None:
    assert runs.retrieve("../x?y").path == "/api/v3/runs/..%2Fx%3Fy"


def test_a_token_is_signed_by_the_key() -> None:
    token = sign({"sub": "env_1", "pub": True}, "tr_dev_1", ["read:runs:run_1"], 1000.0, 3600.0)
    signed, _, signature = token.rpartition(".")
    expected = hmac.new(b"tr_dev_1", signed.encode(), hashlib.sha256).digest()

    assert base64.urlsafe_b64decode(signature + "=") == expected
    claims = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
    assert claims == {
        "sub": "env_1",
        "pub": True,
        "scopes": ["read:runs:run_1"],
        "iss": "https://id.trigger.dev",
        "aud": "https://api.trigger.dev",
        "iat": 1000,
        "exp": 4600,
    }


def flaky(server: FakeServer) -> None:
    def answer(asked: Asked) -> Answer:
        if len(server.asked) == 1:
            return 503, {"x-should-retry": "true"}, b""
        return 200, {}, b'{"id":"run_1"}'

    server.answer = answer


def test_a_retry_repeats_the_request_key(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "FIRST_WAIT", 0.01)
    flaky(server)

    assert clients.send_sync(runs.cancel("run_1")).id == "run_1"
    assert len({asked.headers[requests.REQUEST_KEY] for asked in server.asked}) == 1
    assert len(server.asked) == 2


async def test_the_awaiting_executor_does_the_same(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "FIRST_WAIT", 0.01)
    flaky(server)

    assert (await clients.send(runs.cancel("run_1"))).id == "run_1"
    assert server.asked[0].headers["authorization"] == "Bearer tr_dev_0123456789"
    assert server.asked[0].headers["x-trigger-api-version"] == "2025-07-16"


def test_loopback_ignores_proxies(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer = lambda asked: (200, {}, b'{"id":"run_1"}')
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    began = time.monotonic()
    assert clients.send_sync(runs.cancel("run_1")).id == "run_1"
    assert asyncio.run(clients.send(runs.cancel("run_1"))).id == "run_1"
    assert time.monotonic() - began < 5
