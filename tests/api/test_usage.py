"""What tasks are and did, by HTTP: tasks, usage with what is odd in it, errors, batches, keys."""

from datetime import UTC, datetime, timedelta

import pytest

from api_server import Api
from outlast.protocol.activity import Tally
from outlast.server.spikes import spikes

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
SUNDAY = MONDAY + timedelta(days=6, hours=23)


async def end(api: Api, error: str = "", task: str = "hello") -> str:
    """Let a run end, well or of an error."""
    run = await api.trigger(task, payload={"n": 1})
    claim = await api.worker.claim(run)
    if error:
        claim.fail(error)
    else:
        claim.complete()
    await api.ended(run)
    return run


async def test_tasks_say_what_they_are_and_did(api: Api) -> None:
    await end(api)
    await end(api, "boom")
    await api.worker.claim(await api.trigger())
    await api.engine.activity.flush()

    page = (await api.client.get("/api/outlast/v1/tasks")).json()
    found = (await api.client.get("/api/outlast/v1/tasks?search=HEL&perPage=1")).json()
    one = (await api.client.get("/api/outlast/v1/tasks/hello?period=7d")).json()
    odd = (await api.client.get("/api/outlast/v1/tasks/a%2Fb%20c")).json()

    assert [task["id"] for task in page["data"]] == ["a/b c", "hello"]
    assert [task["id"] for task in found["data"]] == ["hello"]
    hello = page["data"][1]
    assert (hello["running"], hello["queued"], hello["file"]) == (1, 0, "trigger/hello.py")
    assert sum(hour["completed"] for hour in hello["hours"]) == 1
    assert sum(point["failed"] for point in one["points"]) == 1
    assert one["span"] == "hour"
    assert odd["id"] == "a/b c"
    missing = await api.client.get("/api/outlast/v1/tasks/nothing")
    wrong = await api.client.get("/api/outlast/v1/tasks/hello?period=5y")
    assert (missing.status_code, wrong.status_code) == (404, 422)


async def test_errors_are_grouped_and_marked(api: Api) -> None:
    first = await end(api, "no row 1")
    last = await end(api, "no row 2")
    await api.engine.activity.flush()

    [error] = (await api.client.get("/api/outlast/v1/errors?status=open")).json()["data"]
    marked = await api.client.post(
        f"/api/outlast/v1/errors/{error['id']}", json={"status": "resolved"}
    )
    runs = await api.client.get(f"/api/v1/runs?filter[error]={error['id']}")

    assert (error["count"], error["message"], error["lastRun"]) == (2, "no row 2", last)
    assert marked.json()["status"] == "resolved"
    assert [run["id"] for run in runs.json()["data"]] == [last, first]
    one = (await api.client.get(f"/api/outlast/v1/errors/{error['id']}")).json()
    assert sum(hour["count"] for hour in one["hours"]) == 2
    assert (await api.client.get("/api/outlast/v1/errors?status=open")).json()["data"] == []


async def test_usage_is_by_week_and_task(api: Api) -> None:
    await end(api)
    await end(api, task="a/b c")
    await api.engine.activity.flush()

    usage = (await api.client.get("/api/outlast/v1/usage?weeks=2")).json()

    assert {(row["task"], row["completed"], row["keyless"]) for row in usage["data"]} == {
        ("hello", 1, 1),
        ("a/b c", 1, 1),
    }
    assert usage["spikes"] == []


def week(number: int, runs: int, *, attempts: int = 0, keyless: int = 0) -> Tally:
    """Return what a task did in a week, counted back from the present one."""
    return Tally(
        MONDAY - timedelta(weeks=number), "mail", runs, 0, 0, attempts or runs, keyless, 1.0
    )


@pytest.mark.parametrize(
    ("present", "cause"),
    [
        (week(0, 100), None),
        (week(0, 400, keyless=390), "keyless"),
        (week(0, 400, keyless=10), "growth"),
        (week(0, 110, attempts=400), "retries"),
        (week(0, 15, attempts=60), None),
    ],
)
def test_a_spike_names_its_likely_cause(present: Tally, cause: str | None) -> None:
    found = spikes([week(2, 90), week(1, 110), present], SUNDAY)

    assert [one.cause for one in found] == ([] if cause is None else [cause])


def test_a_week_that_has_just_begun_is_compared_with_a_part_of_others() -> None:
    present = [week(1, 700), week(0, 600)]

    [spike] = spikes(present, MONDAY + timedelta(days=2))

    assert spike.factor == 3.0
    assert spikes(present, SUNDAY) == ()


async def test_batches_are_listed(api: Api) -> None:
    made = [
        (await api.client.post("/api/v3/batches", json={"runCount": 2})).json()["id"]
        for _ in range(3)
    ]
    line = '{"index": 0, "task": "hello"}\n{"index": 1, "task": "nothing"}\n'
    await api.client.post(
        f"/api/v3/batches/{made[2]}/items",
        content=line,
        headers={"content-type": "application/x-ndjson"},
    )

    page = (await api.client.get("/api/outlast/v1/batches?limit=2")).json()
    rest = await api.client.get(f"/api/outlast/v1/batches?after={page['pagination']['next']}")

    assert [(one["id"], one["status"]) for one in page["data"]] == [
        (made[2], "PARTIAL_FAILED"),
        (made[1], "PENDING"),
    ]
    assert (page["data"][0]["created"], page["data"][0]["refused"]) == (2, 1)
    assert [one["id"] for one in rest.json()["data"]] == made[:1]


async def test_keys_are_made_shown_once_and_revoked(api: Api) -> None:
    made = await api.client.post("/api/outlast/v1/keys", json={"name": "ci", "expires": "30d"})
    secret = made.json()["secret"]
    keys = await api.client.get("/api/outlast/v1/keys")
    async with api.with_bearer(secret) as holder:
        works = await holder.get("/api/v1/runs")
        breeds = await holder.post("/api/outlast/v1/keys", json={"name": "more"})
        spies = await holder.get("/api/outlast/v1/deeds")
        gone = await api.client.delete(f"/api/outlast/v1/keys/{made.json()['id']}")
        dead = await holder.get("/api/v1/runs")

    assert made.status_code == 201
    assert secret.startswith("tr_dev_sk_")
    assert secret not in keys.text
    assert {(one["kind"], one.get("name")) for one in keys.json()["data"]} == {
        ("root", ""),
        ("additional", "ci"),
    }
    assert (works.status_code, breeds.status_code, spies.status_code) == (200, 403, 403)
    assert (gone.status_code, dead.status_code) == (204, 401)


async def test_the_root_key_is_rotated_with_a_grace(api: Api) -> None:
    made = await api.client.post("/api/outlast/v1/keys/rotate", json={"grace": "1h"})
    wrong = await api.client.post("/api/outlast/v1/keys/rotate", json={"grace": "soon"})

    assert made.json()["secret"].startswith("tr_dev_")
    assert wrong.status_code == 422
    assert (await api.client.get("/api/v1/runs")).status_code == 200


async def test_a_replay_says_of_which_run(api: Api) -> None:
    run = await end(api)
    made = (await api.client.post(f"/api/v1/runs/{run}/replay")).json()["id"]

    detail = (await api.client.get(f"/api/v3/runs/{made}")).json()
    replays = (await api.client.get(f"/api/v1/runs?filter[replayOf]={run}")).json()["data"]

    assert detail["replayedFrom"] == run
    assert [one["id"] for one in replays] == [made]
