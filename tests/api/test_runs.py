"""Runs over HTTP: read, listed, canceled, waited for, in the words that each client knows."""

import asyncio
import json

import pytest

from api_server import Api
from outlast.protocol.bodies import RunDetail, RunPage
from outlast.protocol.frames import Kind
from outlast.protocol.messages import Fail
from outlast.protocol.outcomes import WORKER_LOST, RunError
from outlast.protocol.statuses import NAMES, Status
from outlast.protocol.triggers import Trigger
from outlast.server.run_bodies import flags, plain

MODERN = {"x-trigger-api-version": "2025-07-16"}


async def test_a_run_that_waits_says_for_what(api: Api) -> None:
    run = await api.trigger(payload={"n": 1}, options={"delay": "1h", "tags": ["org_1"]})

    reply = await api.client.get(f"/api/v3/runs/{run}")

    body = reply.json()
    RunDetail.model_validate(body)
    assert body["status"] == "DELAYED"
    assert body["isQueued"] is True
    assert body["isCompleted"] is False
    assert body["payload"] == {"n": 1}
    assert body["tags"] == ["org_1"]
    assert body["delayedUntil"].endswith("Z")
    assert body["createdAt"][-5] == "."  # milliseconds
    assert body["reason"].startswith("is delayed until")
    assert body["triggerFunction"] == "trigger"
    assert body["relatedRuns"] == {}
    assert None not in body.values()


async def test_a_run_that_completed_shows_its_output_as_it_was(api: Api) -> None:
    run = await api.trigger()
    (await api.worker.claim(run)).complete('{"amount": 12345678901234567890.10, "n": null}')
    await api.ended(run)

    reply = await api.client.get(f"/api/v3/runs/{run}")

    assert '"output":{"amount": 12345678901234567890.10, "n": null}' in reply.text
    body = reply.json()
    assert (body["status"], body["isSuccess"], body["attemptCount"]) == ("COMPLETED", True, 1)
    assert {"startedAt", "finishedAt"} <= set(body)
    assert "error" not in body
    assert "reason" not in body


async def test_a_run_that_failed_shows_why(api: Api) -> None:
    run = await api.trigger()
    (await api.worker.claim(run)).fail("boom")
    await api.ended(run)

    body = (await api.client.get(f"/api/v3/runs/{run}")).json()

    assert body["error"]["message"] == "boom"
    assert body["error"]["name"] == "ValueError"
    assert "code" not in body["error"]
    assert (body["isFailed"], body["isCompleted"], body["isCancelled"]) == (True, True, False)


async def test_the_end_of_a_run_has_the_form_of_its_kind(api: Api) -> None:
    """Official clients rebuild the error from it, and refuse a form they do not know."""
    raised, crashed = [await api.trigger() for _ in range(2)]
    canceled = await api.trigger(options={"delay": "1h"})
    (await api.worker.claim(raised)).fail("boom")
    (await api.worker.claim(crashed)).send(
        Kind.FAIL, Fail(RunError("crashed", WORKER_LOST, "gone"))
    )
    await api.client.post(f"/api/v2/runs/{canceled}/cancel")
    for run in (raised, crashed, canceled):
        await api.ended(run)

    forms = [
        (await api.client.get(f"/api/v1/runs/{run}/result")).json()["error"]
        for run in (raised, crashed, canceled)
    ]
    shown = (await api.client.get(f"/api/v3/runs/{crashed}")).json()["error"]

    assert forms[0] == {
        "type": "BUILT_IN_ERROR",
        "name": "ValueError",
        "message": "boom",
        "stackTrace": "",
    }
    assert forms[1] == {
        "type": "INTERNAL_ERROR",
        "code": "TASK_RUN_HEARTBEAT_TIMEOUT",
        "message": "gone",
    }
    assert forms[2]["code"] == "TASK_RUN_CANCELLED"
    assert (shown["kind"], shown["code"]) == ("crashed", "TASK_RUN_HEARTBEAT_TIMEOUT")


async def test_children_stand_beside_their_parent(api: Api) -> None:
    parent = await api.trigger()
    claimed = await api.worker.claim(parent)
    called = await claimed.call("child:hello#0", "child", Trigger(task="hello"))
    child = called.runs[0].run_id

    above = (await api.client.get(f"/api/v3/runs/{parent}")).json()
    below = (await api.client.get(f"/api/v3/runs/{child}")).json()

    assert [run["id"] for run in above["relatedRuns"]["children"]] == [child]
    assert below["relatedRuns"]["parent"]["id"] == parent
    assert below["relatedRuns"]["root"]["id"] == parent
    assert (below["depth"], below["triggerFunction"]) == (1, "triggerAndWait")


async def test_without_the_version_header_statuses_have_their_old_names(api: Api) -> None:
    run = await api.trigger()
    await api.worker.claim(run)

    async with api.with_bearer(api.key) as client:
        legacy = (await client.get(f"/api/v3/runs/{run}")).json()
        modern = (await client.get(f"/api/v3/runs/{run}", headers=MODERN)).json()

    assert (legacy["status"], modern["status"]) == ("EXECUTING", "DEQUEUED")


@pytest.mark.parametrize("path", ["run_nobody", "x", "%00", "run_1%2F..%2Frun_2", "ü"])
async def test_an_unknown_run_is_a_404(api: Api, path: str) -> None:
    for url in (f"/api/v3/runs/{path}", f"/api/outlast/v1/runs/{path}/result?seconds=0"):
        assert (await api.client.get(url)).status_code == 404


async def test_the_run_of_another_environment_is_not_found(api: Api) -> None:
    run = await api.trigger()
    other = await api.engine.tenancy.environment("proj_test", "prod")
    [key] = await api.engine.keys.roots(other.id)

    async with api.with_bearer(key) as client:
        replies = [
            await client.get(f"/api/v3/runs/{run}"),
            await client.get(f"/api/v1/runs/{run}/result"),
            await client.get(f"/api/v1/runs/{run}/metadata"),
            await client.get(f"/api/outlast/v1/runs/{run}/result?seconds=0"),
            await client.post(f"/api/v2/runs/{run}/cancel"),
            await client.post(f"/api/outlast/v1/runs/{run}/resume"),
        ]
        listed = await client.get("/api/v1/runs")

    assert [reply.status_code for reply in replies] == [404] * 6
    assert listed.json()["data"] == []


async def test_lists_page_from_new_to_old_and_back(api: Api) -> None:
    runs = [await api.trigger() for _ in range(3)][::-1]

    first = (await api.client.get("/api/v1/runs?page%5Bsize%5D=2")).json()
    cursor = first["pagination"]["next"]
    second = (await api.client.get(f"/api/v1/runs?page[size]=2&page[after]={cursor}")).json()
    back = second["pagination"]["previous"]
    again = (await api.client.get(f"/api/v1/runs?page[size]=2&page[before]={back}")).json()

    RunPage.model_validate(first)
    assert [run["id"] for run in first["data"]] == runs[:2]
    assert [run["id"] for run in second["data"]] == runs[2:]
    assert "next" not in second["pagination"]
    assert [run["id"] for run in again["data"]] == runs[:2]
    assert first["data"][0]["env"] == {"id": api.platform.environment.id, "name": "dev"}


async def test_lists_are_filtered(api: Api) -> None:
    tagged = await api.trigger(options={"tags": ["org_1"], "test": True})
    other = await api.trigger("a%2Fb%20c")
    delayed = await api.trigger(options={"delay": "1h"})

    async def found(query: str) -> list[str]:
        reply = await api.client.get(f"/api/v1/runs?{query}")
        assert reply.status_code == 200, reply.text
        return [run["id"] for run in reply.json()["data"]]

    assert await found("filter[tag]=org_1,org_2") == [tagged]
    assert await found("filter[isTest]=true") == [tagged]
    assert await found("filter%5BtaskIdentifier%5D=a%2Fb%20c") == [other]
    assert await found("filter[status]=DELAYED") == [delayed]
    assert await found("filter[queue]=task%2Fa%2Fb%20c") == [other]
    assert await found("filter[createdAt][period]=1d") == [delayed, other, tagged]
    assert await found("filter[createdAt][to]=1000") == []
    assert await found("filter[createdAt][from]=1000&page[size]=1") == [delayed]


@pytest.mark.parametrize(
    "query",
    [
        "filter[status]=SLEEPING",
        "filter[isTest]=maybe",
        "filter[createdAt][from]=yesterday",
        "filter[createdAt][to]=99999999999999999999",
        "filter[createdAt][period]=soon",
        "filter[colour]=red",
        "page[size]=0",
        "page[size]=101",
        "page[size]=x",
        "page[after]=run_1&page[before]=run_2",
        "page[after]=%27%3B",
    ],
)
async def test_a_query_that_makes_no_sense_is_a_400(api: Api, query: str) -> None:
    reply = await api.client.get(f"/api/v1/runs?{query}")

    assert reply.status_code == 400
    assert reply.json()["param"]


async def test_cancel_is_idempotent_and_takes_no_body(api: Api) -> None:
    run = await api.trigger()
    headers = {"content-type": "application/json", "content-length": "0"}

    first = await api.client.post(f"/api/v2/runs/{run}/cancel", headers=headers)
    claimed = await api.client.get(f"/api/v3/runs/{run}")
    second = await api.client.post(f"/api/v2/runs/{run}/cancel", headers=headers)

    assert first.json() == second.json() == {"id": run}
    assert claimed.status_code == 200


async def test_waiting_returns_when_the_run_ends(api: Api) -> None:
    run = await api.trigger()
    claimed = await api.worker.claim(run)
    url = f"/api/outlast/v1/runs/{run}/result"

    early = await api.client.get(f"{url}?seconds=0")
    waiting = asyncio.create_task(api.client.get(f"{url}?seconds=20"))
    claimed.complete('"done"')
    reply = await waiting

    assert (early.status_code, early.json()) == (202, {})
    assert reply.status_code == 200
    assert reply.json()["output"] == "done"


async def test_a_stopping_server_holds_nobody_back(api: Api) -> None:
    run = await api.trigger()
    url = f"/api/outlast/v1/runs/{run}/result?seconds=60"

    waiting = asyncio.create_task(api.client.get(url))
    api.app.state.services.stopping.set()
    async with asyncio.timeout(5):
        reply = await waiting

    assert reply.status_code == 202


@pytest.mark.parametrize("seconds", ["nan", "-1", "-inf"])
async def test_a_strange_patience_is_none(api: Api, seconds: str) -> None:
    run = await api.trigger()

    async with asyncio.timeout(5):
        reply = await api.client.get(f"/api/outlast/v1/runs/{run}/result?seconds={seconds}")

    assert reply.status_code == 202


async def test_the_result_is_not_there_until_the_end(api: Api) -> None:
    run = await api.trigger()
    url = f"/api/v1/runs/{run}/result"

    early = await api.client.get(url)
    (await api.worker.claim(run)).complete("[1]")
    await api.ended(run)
    late = await api.client.get(url)

    assert early.status_code == 404
    assert late.json()["output"] == "[1]"


async def test_metadata_is_an_object(api: Api) -> None:
    empty = await api.trigger()
    full = await api.trigger(options={"metadata": {"progress": 0.5, "none": None}})

    assert (await api.client.get(f"/api/v1/runs/{empty}/metadata")).json() == {"metadata": {}}
    reply = await api.client.get(f"/api/v1/runs/{full}/metadata")
    assert reply.json() == {"metadata": {"progress": 0.5, "none": None}}


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ("read:runs:{run}", 200),
        ("read:runs", 200),
        ("read:tasks:hello", 200),
        ("read:tags:org_1", 200),
        ("read:runs:run_other", 403),
        ("read:tags:org_2", 403),
        ("read:batch", 403),
        ("write:runs", 403),
    ],
)
async def test_a_token_reads_what_it_names(api: Api, scope: str, status: int) -> None:
    run = await api.trigger(options={"tags": ["org_1"]})
    token = await api.engine.tokens.mint(api.platform.environment, (scope.format(run=run),))

    async with api.with_bearer(token) as client:
        assert (await client.get(f"/api/v3/runs/{run}")).status_code == status
        assert (await client.post(f"/api/outlast/v1/runs/{run}/resume")).status_code == 403


@pytest.mark.parametrize(
    ("scope", "query", "status"),
    [
        ("read:runs", "", 200),
        ("read:tasks:hello", "", 403),
        ("read:tasks:hello", "filter[taskIdentifier]=hello", 200),
        ("read:tasks:hello", "filter[taskIdentifier]=hello,a%2Fb%20c", 403),
        ("read:runs:run_1", "", 403),
    ],
)
async def test_a_token_lists_what_it_may_read(
    api: Api, scope: str, query: str, status: int
) -> None:
    token = await api.engine.tokens.mint(api.platform.environment, (scope,))

    async with api.with_bearer(token) as client:
        assert (await client.get(f"/api/v1/runs?{query}")).status_code == status


async def test_a_token_cancels_only_with_the_right_to_write(api: Api) -> None:
    run = await api.trigger()
    reader = await api.engine.tokens.mint(api.platform.environment, ("read:runs",))
    writer = await api.engine.tokens.mint(api.platform.environment, (f"write:runs:{run}",))

    async with api.with_bearer(reader) as client:
        refused = await client.post(f"/api/v2/runs/{run}/cancel")
    async with api.with_bearer(writer) as client:
        done = await client.post(f"/api/v2/runs/{run}/cancel")

    assert (refused.status_code, done.status_code) == (403, 200)


@pytest.mark.parametrize("status", list(Status))
def test_every_status_is_in_exactly_one_state(status: Status) -> None:
    found = flags(status)
    ends = found["is_success"], found["is_failed"], found["is_cancelled"]
    states = found["is_queued"], found["is_executing"], found["is_waiting"], *ends

    assert sum(states) == 1
    assert found["is_completed"] is any(ends)
    assert NAMES[status].api == NAMES[status].api.upper()


@pytest.mark.parametrize(
    ("text", "media_type", "value"),
    [
        ('{"json":{"a":1},"meta":{}}', "application/super+json", {"a": 1}),
        ('{"a":1}', "application/json", {"a": 1}),
        ("plain", "text/plain", "plain"),
        ("{", "application/json", "{"),
        ('{"a":1}', "application/super+json", '{"a":1}'),
    ],
)
def test_stored_text_is_shown_as_the_value_it_stands_for(
    text: str, media_type: str, value: object
) -> None:
    shown = plain(text, media_type)

    assert (shown if isinstance(shown, str) else json.loads(bytes(shown))) == value


async def test_the_runs_of_a_project_are_those_of_the_environment_of_the_key(api: Api) -> None:
    run = await api.trigger()
    project = (await api.client.get("/api/outlast/v1/environment")).json()["project"]
    url = f"/api/v1/projects/{project}/runs"

    for query in ("", "?filter[env]=dev", "?filter[taskIdentifier]=hello"):
        found = (await api.client.get(url + query)).json()
        assert [each["id"] for each in found["data"]] == [run], query
    assert (await api.client.get(f"{url}?filter[env]=dev,staging")).status_code == 422
    assert (await api.client.get(f"{url}?filter[other]=1")).status_code == 400
    assert (await api.client.get("/api/v1/projects/proj_other/runs")).status_code == 404


async def test_an_ended_run_is_deleted_and_the_audit_log_says_by_whom(api: Api) -> None:
    run = await api.trigger(payload={"name": "Ada"})
    address = f"/api/outlast/v1/runs/{run}"
    open_ = await api.client.delete(address)
    (await api.worker.claim(run)).complete("1")
    await api.ended(run)

    deleted = await api.client.delete(address)
    again = await api.client.delete(address)
    gone = await api.client.get(f"/api/v3/runs/{run}")
    deeds = (await api.client.get("/api/outlast/v1/deeds")).json()["data"]

    assert (open_.status_code, open_.json()["code"]) == (422, "run_not_ended")
    assert "cancel it first" in open_.json()["error"]
    assert (deleted.status_code, deleted.json()) == (200, {"id": run})
    assert (again.status_code, gone.status_code) == (404, 404)
    [deed] = deeds
    assert (deed["action"], deed["target"]) == ("delete run", run)
    assert deed["account"].startswith("key key_")
