"""Queues and idempotency keys over HTTP, as the official client asks for them."""

import hashlib

from api_server import Api


async def test_a_queue_is_read_paused_limited_and_reset(api: Api) -> None:
    base = "/api/v1/queues/a%252Fb%20c"

    shown = await api.client.get(f"{base}?type=task")
    paused = await api.client.post(f"{base}/pause", json={"type": "task", "action": "pause"})
    limited = await api.client.post(
        f"{base}/concurrency/override", json={"type": "task", "concurrencyLimit": 5}
    )
    again = await api.client.post(f"{base}/concurrency/reset", json={"type": "task"})
    by_id = await api.client.get(f"/api/v1/queues/{shown.json()['id']}?type=id")

    assert (shown.json()["name"], shown.json()["type"]) == ("a/b c", "task")
    assert shown.json()["concurrencyLimit"] is None
    assert paused.json()["paused"] is True
    assert limited.json()["concurrency"]["override"] == 5
    assert limited.json()["concurrency"]["overriddenBy"] is not None
    assert again.json()["concurrency"]["override"] is None
    assert by_id.json()["id"] == shown.json()["id"]


async def test_queues_are_paged_by_offset(api: Api) -> None:
    reply = await api.client.get("/api/v1/queues?page=2&perPage=1")

    assert reply.json()["pagination"] == {"currentPage": 2, "totalPages": 2, "count": 2}
    assert [queue["name"] for queue in reply.json()["data"]] == ["hello"]


async def test_metrics_keys_and_the_pause_of_the_environment(api: Api) -> None:
    paused = await api.client.post("/api/outlast/v1/environment/pause")
    await api.trigger(options={"concurrencyKey": "k", "fairnessGroup": "g"})

    metrics = await api.client.get("/api/outlast/v1/queues/hello/metrics?type=task")
    keys = await api.client.get("/api/outlast/v1/queues/hello/keys?type=task")

    assert paused.json()["paused"] is True
    assert metrics.json()["queued"] == 1
    assert [(row["key"], row["fairnessGroup"]) for row in keys.json()["data"]] == [("k", "g")]


async def test_how_long_an_environment_keeps_its_runs_is_set_and_shown(api: Api) -> None:
    limits = "/api/outlast/v1/environment/limits"

    before = await api.client.get(limits)
    kept = await api.client.post(limits, json={"retentionDays": 30})
    untouched = await api.client.post(limits, json={"burstFactor": 3})
    shown = await api.client.get(limits)
    refused = await api.client.post(limits, json={"retentionDays": 0})
    forever = await api.client.post(limits, json={"retentionDays": None})

    replies = (before, kept, untouched, shown, forever)
    assert [reply.json()["retentionDays"] for reply in replies] == [7, 30, 30, 30, None]
    assert refused.status_code == 400
    assert "retentionDays" in refused.text


async def test_logs_and_streams_have_days_of_their_own(api: Api) -> None:
    limits = "/api/outlast/v1/environment/limits"

    changed = await api.client.post(
        limits, json={"logRetentionDays": 3, "streamRetentionDays": None}
    )

    names = ("retentionDays", "logRetentionDays", "streamRetentionDays")
    assert [changed.json()[name] for name in names] == [7, 3, None]
    refused = await api.client.post(limits, json={"logRetentionDays": 0})
    assert refused.status_code == 400


async def test_an_unknown_queue_is_a_404(api: Api) -> None:
    reply = await api.client.get("/api/v1/queues/nothing?type=custom")

    assert reply.status_code == 404


async def test_a_reset_key_makes_a_new_run(api: Api) -> None:
    key = hashlib.sha256(b"once").hexdigest()
    first = await api.trigger(options={"idempotencyKey": key})
    assert await api.trigger(options={"idempotencyKey": key}) == first

    reply = await api.client.post(
        f"/api/v1/idempotencyKeys/{key}/reset", json={"taskIdentifier": "hello"}
    )

    assert reply.json() == {"id": key}
    assert await api.trigger(options={"idempotencyKey": key}) != first
    for task in ("other", "hello/"):
        missing = await api.client.post(
            f"/api/v1/idempotencyKeys/{key}/reset", json={"taskIdentifier": task}
        )
        assert missing.status_code == 404
