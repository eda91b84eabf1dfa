"""The pages show what the API says, escape all of it, and live under a strict policy."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from outlast.dashboard.app import create_dashboard

NASTY = "<script>alert(1)</script>"


def run_body(**changes: Any) -> dict[str, Any]:
    body = {
        "id": "run_1",
        "status": "EXECUTING",
        "taskIdentifier": "export",
        "isQueued": False,
        "isExecuting": True,
        "isWaiting": False,
        "isCompleted": False,
        "isSuccess": False,
        "isFailed": False,
        "isCancelled": False,
        "isTest": False,
        "createdAt": "2026-01-01T00:00:00.000Z",
        "updatedAt": "2026-01-01T00:00:00.000Z",
        "startedAt": "2026-01-01T00:00:00.000Z",
        "tags": ["org_1"],
        "env": {"id": "env_1", "name": "dev"},
    }
    return body | changes


class Api:
    """An API that answers what it is given, and remembers what it was asked."""

    def __init__(self, status: int = 200, body: Any = None) -> None:
        self.status = status
        self.body = body
        self.asked: list[str] = []
        self.sides: dict[str, dict[str, Any]] = {
            "journal": {"entries": []},
            "logs": {"lines": []},
        }

    async def __call__(self, path: str) -> tuple[int, bytes]:
        self.asked.append(path)
        side = self.sides.get(path.partition("?")[0].rpartition("/")[2])
        return self.status, json.dumps(self.body if side is None else side).encode()


async def get(api: Api, path: str, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(create_dashboard(api))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.get(path, headers=headers)


def listed(*runs: dict[str, Any], **cursors: str) -> Api:
    return Api(body={"data": runs, "pagination": cursors})


async def test_the_list_shows_runs_and_refreshes_itself_without_scripts() -> None:
    reply = await get(listed(run_body(metadata={"progress": 0.5})), "/runs")

    assert reply.status_code == 200
    assert "export" in reply.text
    assert 'href="/runs/run_1"' in reply.text
    assert 'class="badge executing"' in reply.text
    assert '<meta http-equiv="refresh"' in reply.text
    assert "50 %" in reply.text


async def test_an_empty_list_says_what_to_do() -> None:
    assert "Trigger a task" in (await get(listed(), "/runs")).text


async def test_filters_and_cursors_are_handed_on() -> None:
    api = listed(run_body(), next="run_0")

    reply = await get(api, "/runs?tag=a%26b&status=FAILED&after=run_9&evil=1")

    [asked] = api.asked
    assert parse_qs(urlsplit(asked).query) == {
        "filter[status]": ["FAILED"],
        "filter[tag]": ["a&b"],
        "page[after]": ["run_9"],
        "page[size]": ["25"],
    }
    assert "/runs?status=FAILED&amp;tag=a%26b&amp;after=run_0" in reply.text


async def test_everything_a_user_controls_is_escaped() -> None:
    body = run_body(
        taskIdentifier=NASTY,
        tags=[NASTY],
        metadata={NASTY: NASTY},
        payload={NASTY: NASTY},
        output=NASTY,
        error={"message": NASTY, "name": NASTY, "stackTrace": NASTY},
        queue=NASTY,
        idempotencyKey=NASTY,
    )

    for api, path in ((Api(body=body), "/runs/run_1"), (listed(body), "/runs")):
        reply = await get(api, path)

        assert reply.status_code == 200
        assert "<script>alert" not in reply.text
        assert "&lt;script&gt;" in reply.text


async def test_a_run_shows_what_it_was_given_and_what_it_made() -> None:
    child = run_body(id="run_2", status="WAITING", depth=1, triggerFunction="triggerAndWait")
    body = run_body(
        status="COMPLETED",
        isCompleted=True,
        payload={"n": 1},
        output=[1, 2],
        attemptCount=2,
        relatedRuns={"children": [child]},
    )

    reply = await get(Api(body=body), "/runs/run_1")

    assert "&#34;n&#34;: 1" in reply.text
    assert "run_2" in reply.text
    assert "data-live" not in reply.text  # it ended: nothing to refresh


async def test_a_run_shows_what_it_did_and_said() -> None:
    api = Api(body=run_body())
    api.sides = {
        "journal": {
            "entries": [
                {
                    "key": "child:mail#0",
                    "kind": "child",
                    "name": NASTY,
                    "attempt": 1,
                    "status": "FAILED",
                    "runs": ["run_2"],
                    "error": {"message": NASTY},
                    "createdAt": "2026-01-01T00:00:00.000Z",
                    "finishedAt": "2026-01-01T00:00:01.500Z",
                }
            ]
        },
        "logs": {
            "lines": [
                {
                    "number": 1,
                    "at": "2026-01-01T00:00:00.000Z",
                    "level": "WARNING",
                    "message": NASTY,
                }
            ]
        },
    }

    reply = await get(api, "/runs/run_1")

    assert "1.5 s" in reply.text
    assert 'href="/runs/run_2"' in reply.text
    assert '<li class="warning">' in reply.text
    assert "<script>alert" not in reply.text


async def test_a_path_of_a_run_cannot_leave_its_segment() -> None:
    api = Api(404, {"error": "Run not found"})

    reply = await get(api, "/runs/..%2F..%2Fhealthz")

    assert reply.status_code == 404
    assert all(path.startswith("/api/v3/runs/") and "/../" not in path for path in api.asked)


@pytest.mark.parametrize(
    ("status", "body", "shown"),
    [
        (404, {"error": "Run not found"}, "Run not found"),
        (500, {}, "did not say why"),
        (200, {"strange": 1}, "does not understand"),
    ],
)
async def test_what_cannot_be_shown_is_a_page_of_its_own(
    status: int, body: object, shown: str
) -> None:
    reply = await get(Api(status, body), "/runs/run_1")

    assert reply.status_code >= 400
    assert shown in reply.text


async def test_every_page_has_a_policy_without_foreign_or_inline_scripts() -> None:
    for path in ("/runs", "/nowhere"):
        reply = await get(listed(run_body()), path)

        policy = reply.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert " style=" not in reply.text
        assert "onclick" not in reply.text


async def test_static_files_are_served_by_name_only_and_validated() -> None:
    reply = await get(Api(), "/static/dashboard.css")
    again = await get(Api(), "/static/dashboard.css", **{"if-none-match": reply.headers["etag"]})
    other = await get(Api(), "/static/..%2Fapp.py")

    assert reply.headers["content-type"].startswith("text/css")
    assert again.status_code == 304
    assert other.status_code == 404


async def test_the_root_leads_to_the_runs() -> None:
    assert (await get(Api(), "/")).headers["location"] == "/runs"
