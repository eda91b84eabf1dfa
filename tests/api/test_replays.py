"""Replays, reschedules and bulk actions over HTTP."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from api_server import Api


async def post(api: Api, path: str, body: object = None) -> httpx.Response:
    return (
        await api.client.post(path, json=body) if body is not None else await api.client.post(path)
    )


async def shown(api: Api, run: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.client.get(f"/api/v3/runs/{run}")).json()
    return found


async def replayed(api: Api, run: str, body: object = None) -> str:
    reply = await post(api, f"/api/v1/runs/{run}/replay", body)
    assert reply.status_code == 200, reply.text
    made: str = reply.json()["id"]
    return made


async def test_a_replay_is_a_new_run_with_what_the_old_one_was_given(api: Api) -> None:
    options = {"tags": ["a", "b"], "concurrencyKey": "k", "metadata": {"m": 1}, "maxAttempts": 5}
    run = await api.trigger(payload={"n": 1}, options=options)
    (await api.worker.claim(run)).complete()
    await api.ended(run)

    made = await replayed(api, run)

    claimed = await api.worker.claim(made)
    facts = claimed.claim.facts
    assert made != run
    assert (claimed.claim.payload, facts.is_replay, facts.max_attempts) == ('{"n":1}', True, 5)
    again = await shown(api, made)
    assert (again["tags"], again["metadata"]) == (["a", "b"], {"m": 1})
    assert again["concurrencyKey"] == "k"


async def test_what_the_body_names_is_changed_and_nothing_else(api: Api) -> None:
    run = await api.trigger(payload=1, options={"tags": ["a"], "concurrencyKey": "k"})

    made = await replayed(
        api, run, {"payload": {"n": 2}, "tags": ["x"], "delay": "1h", "metadata": {"why": "fix"}}
    )

    again = await shown(api, made)
    assert (again["payload"], again["tags"], again["concurrencyKey"]) == ({"n": 2}, ["x"], "k")
    assert (again["status"], again["metadata"]) == ("DELAYED", {"why": "fix"})


async def test_a_replay_that_is_asked_for_twice_is_one_run(api: Api) -> None:
    run = await api.trigger(payload=1)
    key = {"x-trigger-request-idempotency-key": "once"}

    first = await api.client.post(f"/api/v1/runs/{run}/replay", headers=key)
    second = await api.client.post(f"/api/v1/runs/{run}/replay", headers=key)

    assert first.json()["id"] == second.json()["id"] != run


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"colour": "red"}, 400),
        ({"queue": "nowhere"}, 422),
        ({"version": "19990101.1"}, 422),
        ({"delay": "soon"}, 422),
        ([], 400),
    ],
)
async def test_a_replay_that_cannot_be_made_says_why(api: Api, body: object, status: int) -> None:
    run = await api.trigger(payload=1)

    reply = await post(api, f"/api/v1/runs/{run}/replay", body)

    assert (reply.status_code, bool(reply.json()["error"])) == (status, True)


async def test_a_replay_of_no_run_is_not_found(api: Api) -> None:
    assert (await post(api, "/api/v1/runs/run_nothing/replay")).status_code == 404


async def test_a_delayed_run_is_rescheduled_and_answered_whole(api: Api) -> None:
    run = await api.trigger(payload=1, options={"delay": "1h"})
    moment = datetime.now(UTC) + timedelta(days=2)

    reply = await post(api, f"/api/v1/runs/{run}/reschedule", {"delay": moment.isoformat()})

    body = reply.json()
    assert (body["id"], body["status"], body["payload"]) == (run, "DELAYED", 1)
    assert abs(datetime.fromisoformat(body["delayedUntil"]) - moment) < timedelta(seconds=1)


async def test_only_a_delayed_run_is_rescheduled(api: Api) -> None:
    run = await api.trigger(payload=1)

    started = await post(api, f"/api/v1/runs/{run}/reschedule", {"delay": "1h"})
    missing = await post(api, "/api/v1/runs/run_nothing/reschedule", {"delay": "1h"})
    unclear = await post(api, f"/api/v1/runs/{run}/reschedule", {"delay": "soon"})

    assert [one.status_code for one in (started, missing, unclear)] == [422, 404, 422]
    assert "only a delayed one is rescheduled" in started.json()["error"]


async def test_a_bulk_cancel_by_filter_shows_its_progress_and_its_runs(api: Api) -> None:
    runs = [await api.trigger(payload=n, options={"delay": "1h"}) for n in range(3)]
    other = await api.trigger("a/b c", payload=1, options={"delay": "1h"})

    made = await post(
        api,
        "/api/v1/bulk-actions",
        {
            "action": "cancel",
            "name": "tidy up",
            "filter": {"taskIdentifier": ["hello"], "status": "DELAYED", "period": "1d"},
        },
    )
    bulk = made.json()["id"]
    done = await completed(api, bulk)

    assert done == {
        "id": bulk,
        "name": "tidy up",
        "type": "CANCEL",
        "status": "COMPLETED",
        "counts": {"total": 3, "success": 3, "failure": 0},
        "createdAt": done["createdAt"],
        "completedAt": done["completedAt"],
    }
    page = await api.client.get("/api/v1/runs", params={"filter[bulkAction]": bulk})
    assert {run["id"]: run["status"] for run in page.json()["data"]} == dict.fromkeys(
        runs, "CANCELED"
    )
    assert (await shown(api, other))["status"] == "DELAYED"
    listed = (await api.client.get("/api/v1/bulk-actions")).json()
    assert [one["id"] for one in listed["data"]] == [bulk]


async def test_a_bulk_replay_of_named_runs_makes_them_again(api: Api) -> None:
    run = await api.trigger(payload=7, options={"delay": "1h"})

    made = await post(
        api, "/api/v1/bulk-actions", {"action": "replay", "runIds": [run, "run_unknown"]}
    )
    done = await completed(api, made.json()["id"])

    assert done["counts"] == {"total": 2, "success": 1, "failure": 1}
    [claimed] = [await api.worker.claim()]
    assert (claimed.claim.payload, claimed.claim.facts.is_replay) == ("7", True)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"action": "cancel"}, 422, "either a filter or run ids"),
        ({"action": "cancel", "filter": {}}, 422, "at least one field"),
        ({"action": "cancel", "filter": {"region": "eu"}}, 422, "at least one field"),
        ({"action": "cancel", "filter": {"colour": "red"}}, 400, "colour"),
        ({"action": "cancel", "filter": {"status": "SLEEPING"}}, 400, "no status of a run"),
        ({"action": "cancel", "filter": {"from": "yesterday"}}, 400, "must be a date"),
        ({"action": "explode", "filter": {"tag": "a"}}, 400, "action"),
        ({"action": "cancel", "runIds": [f"run_{n}" for n in range(501)]}, 422, "at most 500"),
    ],
)
async def test_a_bulk_action_that_names_no_runs_is_refused(
    api: Api, body: object, status: int, words: str
) -> None:
    reply = await post(api, "/api/v1/bulk-actions", body)

    assert reply.status_code == status, reply.text
    assert words in reply.text


async def test_an_aborted_action_stays_aborted(api: Api) -> None:
    missing = await post(api, "/api/v1/bulk-actions/bulk_nothing/abort")
    made = await post(api, "/api/v1/bulk-actions", {"action": "cancel", "runIds": ["run_x"]})
    await completed(api, made.json()["id"])
    late = await post(api, f"/api/v1/bulk-actions/{made.json()['id']}/abort")

    assert (missing.status_code, late.status_code) == (404, 422)


async def test_tokens_begin_no_bulk_actions(api: Api) -> None:
    token = await api.engine.tokens.mint(api.platform.environment, ("write:runs", "read:runs"))

    async with api.with_bearer(token) as client:
        begin = await client.post("/api/v1/bulk-actions", json={"action": "cancel", "runIds": []})
        look = await client.get("/api/v1/bulk-actions")

    assert (begin.status_code, look.status_code) == (403, 403)


async def completed(api: Api, bulk: str) -> dict[str, Any]:
    """Wait for an action's end."""
    async with asyncio.timeout(10):
        while True:
            found: dict[str, Any] = (await api.client.get(f"/api/v1/bulk-actions/{bulk}")).json()
            if found["status"] == "COMPLETED":
                return found
            await asyncio.sleep(0.02)
