"""Batches over HTTP: two phases, repeated as often as the network wants."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from api_server import Api, running_api
from outlast.server.rates import Rate


def line(index: int, task: str = "hello", **more: object) -> bytes:
    return json.dumps({"index": index, "task": task, "payload": index, **more}).encode() + b"\n"


async def create(api: Api, count: int, **body: object) -> dict[str, Any]:
    reply = await api.client.post("/api/v3/batches", json={"runCount": count, **body})
    assert reply.status_code == 202, reply.text
    created: dict[str, Any] = reply.json()
    return created


async def send(api: Api, batch: str, *lines: bytes) -> httpx.Response:
    async def stream() -> AsyncIterator[bytes]:
        for item in lines:
            yield item

    return await api.client.post(
        f"/api/v3/batches/{batch}/items",
        content=stream(),
        headers={"content-type": "application/x-ndjson"},
    )


async def test_items_that_stream_in_become_runs_in_order(api: Api) -> None:
    batch = await create(api, 3)

    reply = await send(api, batch["id"], line(0), line(1), line(2))

    assert reply.json() == {
        "id": batch["id"],
        "itemsAccepted": 3,
        "itemsDeduplicated": 0,
        "sealed": True,
        "enqueuedCount": 3,
        "expectedCount": 3,
    }
    found = (await api.client.get(f"/api/v2/batches/{batch['id']}")).json()
    assert found["status"] == "COMPLETED"
    assert found["runCount"] == 3
    payloads = [(await api.worker.claim(run)).claim.payload for run in found["runs"]]
    assert payloads == ["0", "1", "2"]


async def test_a_stream_that_is_sent_again_adds_nothing_twice(api: Api) -> None:
    batch = await create(api, 2)

    first = await send(api, batch["id"], line(0))
    second = await send(api, batch["id"], line(0), line(1))
    third = await send(api, batch["id"], line(0), line(1))

    assert first.json()["sealed"] is False
    assert (second.json()["itemsAccepted"], second.json()["sealed"]) == (1, True)
    assert (third.json()["itemsAccepted"], third.json()["sealed"]) == (0, True)
    found = (await api.client.get(f"/api/v2/batches/{batch['id']}")).json()
    assert len(found["runs"]) == 2


async def test_an_index_that_comes_twice_in_a_stream_counts_once(api: Api) -> None:
    batch = await create(api, 2)

    reply = await send(api, batch["id"], line(0), line(0))

    assert reply.json()["itemsAccepted"] == 1
    assert reply.json()["sealed"] is False


async def test_batches_of_an_environment_are_limited_by_their_runs(fresh_url: str) -> None:
    """A larger batch than the burst waits for a full bucket, and leaves a debt."""
    async with running_api(fresh_url, batch_rate=Rate(60, 4)) as api:
        first = await api.client.post("/api/v3/batches", json={"runCount": 3})
        late = await api.client.post("/api/v3/batches", json={"runCount": 9})
        whole = {"items": [{"task": "hello", "payload": n} for n in range(2)]}
        old = await api.client.post("/api/v2/tasks/batch", json=whole)
        alone = await api.client.post("/api/v1/tasks/hello/trigger", json={})
        last = await api.client.post("/api/v3/batches", json={"runCount": 1})

    assert (first.status_code, first.headers["x-ratelimit-remaining"]) == (202, "1")
    assert late.status_code == 429
    assert late.headers["content-type"] == "application/problem+json"
    assert (late.headers["x-ratelimit-limit"], late.headers["x-ratelimit-remaining"]) == ("4", "1")
    assert 2 < int(late.headers["x-ratelimit-reset"]) / 1000 - time.time() <= 3
    assert late.headers["retry-after"] == "3"
    assert "x-should-retry" not in late.headers
    body = late.json()
    assert (body["limit"], body["remaining"], body["secondsUntilReset"]) == (4, 1, 3)
    assert "60 runs a minute" in body["detail"]
    assert [reply.status_code for reply in (old, alone, last)] == [429, 200, 202]


async def test_an_item_that_cannot_run_fails_alone(api: Api) -> None:
    batch = await create(api, 3)

    reply = await send(
        api, batch["id"], line(0, "nobody"), line(1), line(2, options={"delay": "soon"})
    )

    assert reply.json()["sealed"] is True
    found = (await api.client.get(f"/api/v2/batches/{batch['id']}")).json()
    assert found["status"] == "PARTIAL_FAILED"
    assert len(found["runs"]) == 1
    errors = {error["index"]: error for error in found["processing"]["errors"]}
    assert errors[0]["errorCode"] == "unknown_task"
    assert errors[2]["taskIdentifier"] == "hello"
    assert "delay must be" in errors[2]["error"]


async def test_a_line_over_the_limit_fails_alone(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outlast.server.routes.batches.MAX_BODY_BYTES", 1000)
    batch = await create(api, 2)

    reply = await send(api, batch["id"], line(0), line(1, payload="x" * 2000))

    assert reply.json()["sealed"] is True
    found = (await api.client.get(f"/api/v2/batches/{batch['id']}")).json()
    assert [error["index"] for error in found["processing"]["errors"]] == [1]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([b"{\n"], 400),
        ([b'{"task":"hello"}\n'], 400),
        ([line(5)], 422),
        ([line(0), line(1), line(1)], 422),
        ([b'{"index":0,"task":"a","payload":' + b"[" * 300 + b"\n"], 400),
    ],
)
async def test_a_stream_that_is_no_items_is_refused(
    api: Api, lines: list[bytes], status: int
) -> None:
    batch = await create(api, 2)

    reply = await send(api, batch["id"], *lines)

    assert reply.status_code == status


async def test_items_of_another_content_type_are_refused(api: Api) -> None:
    batch = await create(api, 1)

    reply = await api.client.post(f"/api/v3/batches/{batch['id']}/items", json={})

    assert reply.status_code == 415


async def test_a_key_answers_with_the_batch_there_is_and_cached_only_when_sealed(api: Api) -> None:
    first = await create(api, 1, idempotencyKey="k")
    unsealed = await create(api, 1, idempotencyKey="k")
    await send(api, first["id"], line(0))
    sealed = await create(api, 1, idempotencyKey="k")

    assert first["id"] == unsealed["id"] == sealed["id"]
    assert [first["isCached"], unsealed["isCached"], sealed["isCached"]] == [False, False, True]


async def test_a_batch_that_never_got_its_items_is_aborted_and_may_still_get_them(api: Api) -> None:
    batch = (await create(api, 1))["id"]
    await api.platform.sql("update outlast.batch set created_at = created_at - interval '11 min'")

    forgotten = (await api.client.get(f"/api/v2/batches/{batch}")).json()
    [listed] = (await api.client.get("/api/outlast/v1/batches")).json()["data"]
    await send(api, batch, line(0))
    late = (await api.client.get(f"/api/v2/batches/{batch}")).json()

    assert (forgotten["status"], listed["status"]) == ("ABORTED", "ABORTED")
    assert (late["status"], len(late["runs"])) == ("COMPLETED", 1)


async def test_the_batch_of_another_environment_is_not_found(api: Api) -> None:
    batch = await create(api, 1)
    other = await api.engine.tenancy.environment("proj_test", "prod")
    [key] = await api.engine.keys.roots(other.id)

    async with api.with_bearer(key) as client:
        read = await client.get(f"/api/v2/batches/{batch['id']}")
        add = await client.post(
            f"/api/v3/batches/{batch['id']}/items",
            content=line(0),
            headers={"content-type": "application/x-ndjson"},
        )

    assert (read.status_code, add.status_code) == (404, 404)


async def test_results_are_those_of_the_runs_that_ended(api: Api) -> None:
    batch = await create(api, 2)
    await send(api, batch["id"], line(0), line(1))
    runs = (await api.client.get(f"/api/v2/batches/{batch['id']}")).json()["runs"]
    (await api.worker.claim(runs[0])).complete('{"n":1}')
    (await api.worker.claim(runs[1])).fail("boom")
    for run in runs:
        assert await api.engine.ends.wait(api.platform.environment.id, run, 5)

    reply = await api.client.get(f"/api/v1/batches/{batch['id']}/results")

    good, bad = reply.json()["items"]
    assert good == {
        "ok": True,
        "id": runs[0],
        "taskIdentifier": "hello",
        "output": '{"n":1}',
        "outputType": "application/json",
    }
    assert bad["error"]["message"] == "boom"
    assert bad["ok"] is False


async def test_too_large_a_batch_is_a_400(api: Api) -> None:
    reply = await api.client.post("/api/v3/batches", json={"runCount": 1001})

    assert reply.status_code == 400


async def test_a_token_needs_every_task_of_the_batch(api: Api) -> None:
    token = await api.engine.tokens.mint(
        api.platform.environment, ("batchTrigger:tasks:hello", "read:batch")
    )

    async with api.with_bearer(token) as client:
        allowed = await client.post(
            "/api/v3/batches", json={"runCount": 1, "taskIdentifiers": ["hello"]}
        )
        both = await client.post(
            "/api/v3/batches", json={"runCount": 1, "taskIdentifiers": ["hello", "a/b c"]}
        )
        unnamed = await client.post("/api/v3/batches", json={"runCount": 1})
        smuggled = await client.post(
            f"/api/v3/batches/{allowed.json()['id']}/items",
            content=line(0, "a/b c"),
            headers={"content-type": "application/x-ndjson"},
        )

    assert [r.status_code for r in (allowed, both, unnamed, smuggled)] == [202, 403, 403, 403]


async def test_older_clients_send_a_batch_with_all_its_items_at_once(api: Api) -> None:
    item = {"task": "hello", "payload": '{"json":7}'}
    options = {"payloadType": "application/super+json"}
    wrong = {"tags": [f"t{n}" for n in range(11)]}
    items = [{**item, "options": options}, {**item, "options": wrong}]

    reply = await api.client.post("/api/v2/tasks/batch", json={"items": items})

    assert reply.status_code == 202, reply.text
    assert reply.json()["runCount"] == 2
    assert reply.headers["x-trigger-jwt"]
    found = (await api.client.get(f"/api/v2/batches/{reply.json()['id']}")).json()
    assert (found["status"], len(found["runs"])) == ("PARTIAL_FAILED", 1)
    claim = (await api.worker.claim(found["runs"][0])).claim
    assert (claim.payload, claim.payload_type) == ('{"json":7}', "application/super+json")


async def test_a_batch_sent_at_once_is_held_to_the_same_bounds(api: Api) -> None:
    for items in ([], [{"task": "hello"}] * 1001, [{"payload": 1}], [{"task": 1}], None):
        reply = await api.client.post("/api/v2/tasks/batch", json={"items": items})
        assert reply.status_code == 400, reply.text
    deep = b'{"items":[{"task":"hello","payload":' + b"[" * 3000
    assert (await api.client.post("/api/v2/tasks/batch", content=deep)).status_code == 400
    token = await api.engine.tokens.mint(api.platform.environment, ("batchTrigger:tasks:other",))
    async with api.with_bearer(token) as client:
        reply = await client.post("/api/v2/tasks/batch", json={"items": [{"task": "hello"}]})
        assert reply.status_code == 403
