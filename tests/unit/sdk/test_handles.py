"""What an app does with a handle, against a server that answers as told."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from pydantic import BaseModel

from fake_api import Answer, Asked, FakeServer, encode
from outlast import (
    BadRequestError,
    BatchHandle,
    BatchItem,
    BatchTriggerError,
    BlockingCallWarning,
    NotFoundError,
    RateLimitError,
    RunCanceled,
    RunExpired,
    RunFailed,
    RunTimedOut,
    TaskRef,
    UsageError,
    idempotency_keys,
    runs,
    task,
    tasks,
)
from outlast.protocol.triggers import Triggered
from outlast.sdk.handles import RunHandle
from outlast.sdk.options import TriggerOptions


class Report(BaseModel):
    rows: int


REF = TaskRef[dict[str, int], Report]("report")


def ended(status: str, **fields: object) -> bytes:
    body = {"id": "run_1", "status": status, "taskIdentifier": "report", **fields}
    return json.dumps(body).encode()


def serve(server: FakeServer, *ends: tuple[int, bytes]) -> None:
    """Answer a trigger with run_1, and questions for its end with `ends`, the last for ever."""
    left = list(ends)

    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            claims = {"x-trigger-jwt-claims": '{"sub":"env_1","pub":true}'}
            return 200, claims, encode([Triggered(run_id="run_1")])
        status, body = left.pop(0) if len(left) > 1 else left[0]
        return status, {}, body

    server.answer = answer


async def test_a_result_is_typed_by_the_task(server: FakeServer) -> None:
    serve(server, (202, b"{}"), (200, ended("COMPLETED", output={"rows": 3})))
    handle = await REF.trigger({"a": 1})

    assert (handle.id, handle.is_cached) == ("run_1", False)
    assert await handle.result(timeout=60) == Report(rows=3)
    assert server.asked[-1].path.startswith("/api/outlast/v1/runs/run_1/result?seconds=")


def test_a_result_can_be_waited_for_without_a_loop(server: FakeServer) -> None:
    serve(server, (200, ended("COMPLETED")))

    assert tasks.trigger_sync("report", {"a": 1}).result_sync() is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("FAILED", RunFailed),
        ("CRASHED", RunFailed),
        ("SYSTEM_FAILURE", RunFailed),
        ("CANCELED", RunCanceled),
        ("TIMED_OUT", RunTimedOut),
        ("EXPIRED", RunExpired),
    ],
)
async def test_a_run_without_an_output_raises(
    server: FakeServer, status: str, expected: type[RunFailed]
) -> None:
    serve(server, (200, ended(status, error={"message": "no rows", "name": "EmptyError"})))
    handle = await REF.trigger({"a": 1})
    with pytest.raises(expected, match=r"run run_1 of report .*EmptyError: no rows") as raised:
        await handle.result()

    assert (raised.value.type, raised.value.message) == ("EmptyError", "no rows")


async def test_a_timeout_leaves_the_run_alone(server: FakeServer) -> None:
    serve(server, (202, b"{}"))
    handle = await REF.trigger({"a": 1})
    with pytest.raises(TimeoutError, match="has not ended yet; it goes on"):
        await handle.result(timeout=0)


async def test_a_public_token_is_signed_once_the_claims_are_known(server: FakeServer) -> None:
    serve(server, (202, b"{}"))
    handle = await REF.trigger({"a": 1})

    assert handle.public_access_token.count(".") == 2


@pytest.mark.parametrize(
    ("expires", "life"),
    [("2h", 7200), (90, 90), (timedelta(days=30), 2_592_000), (None, 3600)],
)
async def test_the_token_of_a_handle_lives_as_long_as_asked_for(
    server: FakeServer, expires: Any, life: int
) -> None:
    serve(server, (202, b"{}"))
    given: TriggerOptions = {}
    if expires is not None:
        given["public_token_options"] = {"expires": expires}
    asynchronous = await REF.trigger({"a": 1}, **given)
    blocking = await asyncio.to_thread(lambda: REF.trigger_sync({"a": 1}, **given))

    for handle in (asynchronous, blocking):
        claims = read_claims(handle.public_access_token)
        assert claims["exp"] - claims["iat"] == life
        assert claims["scopes"] == ["read:runs:run_1"]


async def test_the_token_of_a_batch_lives_until_the_moment_asked_for(server: FakeServer) -> None:
    """Also when nothing but the batch was triggered: its answer carries the claims."""
    until = datetime.now(UTC) + timedelta(days=3)
    headers = {"x-trigger-jwt-claims": '{"sub":"env_1","pub":true,"scopes":["read:batch:batch_1"]}'}

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/items"):
            content = {"id": "batch_1", "itemsAccepted": 1, "itemsDeduplicated": 0, "sealed": True}
            return 200, {}, json.dumps(content).encode()
        return 202, headers, b'{"id":"batch_1","runCount":1,"isCached":false}'

    server.answer = answer
    made = await REF.batch_trigger([{"a": 1}], public_token_options={"expires": until})

    claims = read_claims(made.public_access_token)
    assert abs(claims["exp"] - until.timestamp()) <= 1
    assert (claims["sub"], claims["scopes"]) == ("env_1", ["read:batch:batch_1"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"expires": "soon"}, "expires of public_token_options is not a duration"),
        ({"expires": datetime(2030, 1, 1)}, "has no time zone"),  # noqa: DTZ001 - that it is
        ({"expires": "31d"}, "lives between 1 s and 30 days"),
        ({"expires": 0}, "lives between 1 s and 30 days"),
        ({"expires": "1h", "scopes": []}, "is written public_token_options="),
        ("2h", "is written public_token_options="),
    ],
)
def test_a_life_that_no_token_can_have_is_refused_before_anything_is_sent(
    server: FakeServer, options: Any, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        REF.trigger_sync({"a": 1}, public_token_options=options)
    with pytest.raises(UsageError, match=said):
        REF.batch_trigger_sync([{"a": 1}], public_token_options=options)
    assert server.asked == []


def test_where_there_is_no_handle_there_is_no_token(server: FakeServer) -> None:
    with pytest.raises(UsageError, match="there is no handle with connection="):
        REF.trigger_sync({"a": 1}, connection=object(), public_token_options={"expires": "2h"})
    with pytest.raises(UsageError, match="there is no handle with on_commit=True"):
        REF.trigger_sync({"a": 1}, on_commit=True, public_token_options={"expires": "2h"})


def read_claims(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims


async def test_a_sync_call_on_a_loop_warns_at_the_callers_line(server: FakeServer) -> None:
    serve(server, (200, ended("COMPLETED")))
    with pytest.warns(BlockingCallWarning, match=r"use `await trigger\(\)`") as warned:
        REF.trigger_sync({"a": 1})

    assert warned[0].filename == __file__


async def test_a_batch_is_made_in_two_phases(server: FakeServer) -> None:
    sealed = iter([False, True])

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/items"):
            content = {"id": "batch_1", "itemsAccepted": 2, "itemsDeduplicated": 0}
            return 200, {}, json.dumps({**content, "sealed": next(sealed)}).encode()
        return 202, {}, b'{"id":"batch_1","runCount":2,"isCached":false}'

    server.answer = answer
    handle = await REF.batch_trigger(
        [{"a": 1}, BatchItem({"a": 2}, delay="90s", tags=["x"])], idempotency_key="nightly"
    )

    assert (handle.id, handle.size, handle.is_cached) == ("batch_1", 2, False)
    first, items, again = server.asked
    assert first.json() == {
        "runCount": 2,
        "idempotencyKey": idempotency_keys.hash_of(["nightly"]),
        "idempotencyKeyOptions": {"key": "nightly", "scope": "run"},
    }
    assert items.body == again.body
    assert items.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in items.body.splitlines()]
    assert [(line["index"], line["task"], line["payload"]) for line in lines] == [
        (0, "report", {"a": 1}),
        (1, "report", {"a": 2}),
    ]
    assert lines[1]["options"] == {
        "payloadType": "application/json",
        "idempotencyKey": idempotency_keys.hash_of(["nightly-1"]),
        "delay": "90s",
        "tags": ["x"],
    }


async def test_a_batch_that_failed_says_so(server: FakeServer) -> None:
    server.answer = lambda asked: (400, {}, b'{"error":"too many"}')
    with pytest.raises(
        BatchTriggerError, match="batch of 1 runs was not triggered: too many"
    ) as caught:
        await REF.batch_trigger([{"a": 1}])

    error = caught.value
    assert (error.phase, error.batch_id, error.item_count) == ("create", None, 1)
    assert (error.is_rate_limited, error.retry_after) == (False, None)
    assert isinstance(error.__cause__, BadRequestError)


@pytest.mark.parametrize("phase", ["create", "stream"])
async def test_a_batch_that_comes_too_soon_says_when_to_come_back(
    server: FakeServer, phase: str
) -> None:
    """When that is later than the call may take; else the call itself waits."""

    def answer(asked: Asked) -> Answer:
        if phase == "create" or asked.path.endswith("/items"):
            return 429, {"retry-after": "40"}, b'{"error":"too many requests"}'
        return 202, {}, b'{"id":"batch_1","runCount":2,"isCached":false}'

    server.answer = answer
    with pytest.raises(BatchTriggerError, match="too many requests") as caught:
        await REF.batch_trigger([{"a": 1}, {"a": 2}])

    error = caught.value
    assert (error.is_rate_limited, error.retry_after) == (True, 40.0)
    assert (error.phase, error.item_count) == (phase, 2)
    assert error.batch_id == (None if phase == "create" else "batch_1")
    assert isinstance(error.__cause__, RateLimitError)


async def test_items_that_are_refused_are_named_and_the_others_go_on(server: FakeServer) -> None:
    refused = {"index": 1, "taskIdentifier": "report", "error": "no such queue"}

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/items"):
            content = {"id": "batch_1", "itemsAccepted": 2, "itemsDeduplicated": 0, "sealed": True}
            body = {**content, "errors": [{**refused, "errorCode": "unknown_queue"}]}
            return 200, {}, json.dumps(body).encode()
        return 202, {}, b'{"id":"batch_1","runCount":2,"isCached":false}'

    server.answer = answer
    with pytest.raises(BatchTriggerError, match="1 of the 2 runs of batch batch_1") as caught:
        await REF.batch_trigger([{"a": 1}, BatchItem({"a": 2}, queue="nowhere")])

    assert caught.value.refusals == ((1, "unknown_queue", "no such queue"),)
    assert caught.value.batch_id == "batch_1"
    assert (caught.value.phase, caught.value.item_count) == ("stream", 2)


def test_an_empty_batch_asks_nobody(server: FakeServer) -> None:
    assert REF.batch_trigger_sync([]).size == 0
    assert asyncio.run(_empty()).id is None
    assert server.asked == []


async def _empty() -> BatchHandle[Report]:
    return await REF.batch_trigger([])


def test_a_batch_has_a_limit() -> None:
    with pytest.raises(UsageError, match="at most 1000"):
        REF.batch_trigger_sync([{"a": 1}] * 1001)


def test_an_iterator_without_end_is_stopped_at_the_limit(server: FakeServer) -> None:
    taken = 0

    async def endless() -> AsyncIterator[dict[str, int]]:
        nonlocal taken
        while True:
            yield {"a": (taken := taken + 1)}

    with pytest.raises(UsageError, match="at most 1000"):
        asyncio.run(_await(REF.batch_trigger(endless())))
    with pytest.raises(UsageError, match="at most 1000"):
        REF.batch_trigger_sync({"a": n} for n in count())

    assert taken == 1001
    assert server.asked == []


async def _await(call: Awaitable[object]) -> None:
    await call


def page(*ids: str, after: str | None = None) -> Answer:
    template = {
        "status": "COMPLETED",
        "taskIdentifier": "report",
        "tags": [],
        "env": _ENV,
        **dict.fromkeys(_FLAGS, False),
        **dict.fromkeys(("createdAt", "updatedAt"), "2026-01-01T00:00:00.000Z"),
        **dict.fromkeys(("costInCents", "baseCostInCents", "durationMs"), 0),
    }
    data = [{**template, "id": one} for one in ids]
    pagination = {"next": after} if after else {}
    return 200, {}, json.dumps({"data": data, "pagination": pagination}).encode()


_ENV = {"id": "env_1", "name": "dev"}
_FLAGS = (
    *("isQueued", "isExecuting", "isWaiting", "isCompleted"),
    *("isSuccess", "isFailed", "isCancelled", "isTest"),
)


def paged(server: FakeServer) -> Callable[[Asked], Answer]:
    def answer(asked: Asked) -> Answer:
        if "cursor_1" in asked.path:
            return page("run_3")
        return page("run_1", "run_2", after="cursor_1")

    return answer


async def test_runs_are_listed_over_all_pages(server: FakeServer) -> None:
    server.answer = paged(server)

    assert [run.id async for run in runs.list(status=["QUEUED", "EXECUTING"], is_test=False)] == [
        "run_1",
        "run_2",
        "run_3",
    ]
    assert "filter%5Bstatus%5D=QUEUED%2CEXECUTING&filter%5BisTest%5D=false" in server.asked[0].path


def test_runs_are_listed_blocking_too(server: FakeServer) -> None:
    server.answer = paged(server)

    assert len(list(runs.list_sync(tag="a"))) == 3
    with pytest.raises(UsageError, match="tags is no filter"):
        list(runs.list_sync(tags="a"))  # type: ignore[call-arg]


def test_a_run_that_does_not_exist(server: FakeServer) -> None:
    server.answer = lambda asked: (404, {}, b'{"error":"Run not found"}')
    with pytest.raises(NotFoundError, match="Run not found"):
        runs.retrieve_sync("run_1")


async def test_an_imported_task_checks_the_payload_also_by_id(server: FakeServer) -> None:
    serve(server, (200, ended("COMPLETED")))

    @task("report")
    async def report(payload: Report) -> None: ...

    assert isinstance(await tasks.trigger("report", {"rows": 1}), RunHandle)
    with pytest.raises(Exception, match=r"payload\.rows"):
        tasks.trigger("report", {"rows": "x"})
