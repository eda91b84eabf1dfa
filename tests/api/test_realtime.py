"""Realtime feeds as the official clients read them: headers, rows, long polls, who may see what."""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from api_server import Api
from fake_worker import Claimed

CLIENT = {"x-trigger-electric-version": "1.0.0-beta.1"}
OFFSET = re.compile(r"\d+_\d+")


class Feed:
    """A caller that does what `@electric-sql/client` 1.0 does, one request at a time."""

    def __init__(
        self, api: Api, path: str, client: httpx.AsyncClient | None = None, **query: str
    ) -> None:
        self.client = client or api.client
        self.path = f"/realtime/v1/{path}"
        self.query = query
        self.offset = "-1"
        self.handle = ""
        self.cursor = ""
        self.live = False
        self.reply = httpx.Response(500)
        self.rows: dict[str, dict[str, Any]] = {}

    async def next(self) -> list[dict[str, Any]]:
        """Return the messages of the next answer, the control message left out."""
        query = {"log": "full", "offset": self.offset, **self.query}
        if self.handle:
            query["handle"] = self.handle
        if self.live:
            query |= {"live": "true", "cursor": self.cursor}
        self.reply = await self.client.get(self.path, params=query, headers=CLIENT, timeout=30)
        assert self.reply.status_code == 200, self.reply.text
        self._check(self.reply.headers)
        *messages, control = self.reply.json()
        assert control == {"headers": {"control": "up-to-date"}}
        for message in messages:
            self._merge(message)
        self.live = True
        found: list[dict[str, Any]] = messages
        return found

    async def until(self, run: str, **wanted: object) -> dict[str, Any]:
        """Read on until a run's row is as wanted."""
        async with asyncio.timeout(10):
            while any(self.rows.get(run, {}).get(name) != value for name, value in wanted.items()):
                await self.next()
        return self.rows[run]

    def _check(self, headers: Mapping[str, str]) -> None:
        """Hold an answer to what the client requires, and move on as it does."""
        assert headers["content-type"] == "application/json"
        assert headers["cache-control"] == "no-store"
        assert headers["access-control-allow-origin"] == "*"
        assert headers["access-control-expose-headers"] == "*"
        assert "electric-up-to-date" in headers
        assert ("electric-cursor" in headers) is self.live
        assert ("electric-schema" in headers) is not self.live
        assert OFFSET.fullmatch(headers["electric-offset"])
        if self.offset != "-1":
            assert int(headers["electric-offset"].split("_")[0]) >= int(self.offset.split("_")[0])
        self.offset = headers["electric-offset"]
        self.handle = headers["electric-handle"]
        self.cursor = headers.get("electric-cursor", self.cursor)

    def _merge(self, message: dict[str, Any]) -> None:
        value = message["value"]
        run = value["friendlyId"]
        assert message["key"] == f'"public"."TaskRun"/"{value["id"]}"'
        if message["headers"]["operation"] == "update":
            assert run in self.rows
        self.rows[run] = {**self.rows.get(run, {}), **value}


@pytest.fixture
def held_briefly(api: Api) -> None:
    """Let long polls end soon."""
    api.app.state.services.feeds.hold = lambda: 0.3


async def claimed(api: Api, **body: Any) -> tuple[str, Claimed]:
    run = await api.trigger(**body)
    return run, await api.worker.claim(run)


async def test_a_run_is_followed_from_start_to_end(api: Api) -> None:
    run, claim = await claimed(api, payload={"a": 1}, options={"tags": ["x", 'quo"te\\']})
    feed = Feed(api, f"runs/{run}")

    [first] = await feed.next()
    claim.complete('{"done":true}')
    row = await feed.until(run, status="COMPLETED_SUCCESSFULLY")

    assert first["headers"] == {"operation": "insert"}
    assert first["value"]["friendlyId"] == run
    assert first["value"]["completedAt"] is None
    assert row["id"] == run.removeprefix("run_")
    assert row["taskIdentifier"] == "hello"
    assert json.loads(row["payload"]) == {"a": 1}
    assert (row["output"], row["outputType"]) == ('{"done":true}', "application/json")
    assert row["runTags"] == '{"quo\\"te\\\\","x"}'
    assert row["realtimeStreams"] == "{}"
    assert row["isTest"] == "f"
    assert row["error"] is None


async def test_moments_carry_no_zone(api: Api) -> None:
    """The client appends the Z: one that is there already makes an invalid date."""
    run, claim = await claimed(api)
    claim.complete()
    feed = Feed(api, f"runs/{run}")

    row = await feed.until(run, status="COMPLETED_SUCCESSFULLY") if await feed.next() else {}

    for name in ("createdAt", "updatedAt", "queuedAt", "completedAt"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", row[name]), name
    assert row["delayUntil"] is None
    assert row["expiredAt"] is None


async def test_every_value_is_a_text_or_null_and_has_a_type(api: Api) -> None:
    run = await api.trigger()
    feed = Feed(api, f"runs/{run}")

    [message] = await feed.next()

    schema = json.loads(feed.reply.headers["electric-schema"])
    assert set(message["value"]) == set(schema)
    assert all(value is None or isinstance(value, str) for value in message["value"].values())
    assert schema["runTags"] == {"type": "text", "dims": 1}
    assert schema["realtimeStreams"] == {"type": "text", "dims": 1}
    assert schema["error"] == {"type": "jsonb"}
    assert schema["isTest"] == {"type": "bool"}
    assert schema["usageDurationMs"] == {"type": "int4"}
    assert schema["costInCents"] == {"type": "float8"}
    assert schema["createdAt"] == {"type": "timestamp"}


async def test_statuses_are_the_stored_names(api: Api) -> None:
    delayed = await api.trigger(options={"delay": "1h"})
    failed, claim = await claimed(api)
    claim.fail("boom")
    canceled = await api.trigger(options={"delay": "1h"})
    await api.client.post(f"/api/v2/runs/{canceled}/cancel")
    await api.ended(failed)

    rows = [Feed(api, f"runs/{run}") for run in (delayed, failed, canceled)]
    for feed in rows:
        await feed.next()
    one, two, three = (next(iter(feed.rows.values())) for feed in rows)

    assert one["status"] == "DELAYED"
    assert one["delayUntil"] is not None
    assert one["queuedAt"] is None
    assert two["status"] == "COMPLETED_WITH_ERRORS"
    assert json.loads(two["error"]) == {
        "type": "BUILT_IN_ERROR",
        "name": "ValueError",
        "message": "boom",
        "stackTrace": "",
    }
    assert three["status"] == "CANCELED"
    assert json.loads(three["error"])["code"] == "TASK_RUN_CANCELLED"


async def test_metadata_and_tags_from_outside_arrive(api: Api) -> None:
    run = await api.trigger(options={"delay": "1h"})
    feed = Feed(api, f"runs/{run}")
    await feed.next()

    await api.client.put(f"/api/v1/runs/{run}/metadata", json={"metadata": {"progress": 40}})
    row = await feed.until(run, metadata='{"progress": 40}')
    await api.client.post(f"/api/v1/runs/{run}/tags", json={"tags": ["late"]})
    row = await feed.until(run, runTags='{"late"}')

    assert row["metadataType"] == "application/json"
    assert row["status"] == "DELAYED"


@pytest.mark.usefixtures("held_briefly")
async def test_a_long_poll_is_held_and_then_says_that_nothing_changed(api: Api) -> None:
    run = await api.trigger(options={"delay": "1h"})
    feed = Feed(api, f"runs/{run}")
    await feed.next()
    before = feed.offset
    loop = asyncio.get_running_loop()

    began = loop.time()
    assert await feed.next() == []

    assert loop.time() - began >= 0.3
    assert feed.offset == before


async def test_a_long_poll_is_held_for_twenty_seconds_not_the_same_for_all(api: Api) -> None:
    """Who comes at once comes back spread out."""
    hold = api.app.state.services.feeds.hold

    times = [hold() for _ in range(1_000)]

    assert 17 <= min(times) < 18
    assert 22 < max(times) <= 23


@pytest.mark.usefixtures("held_briefly")
async def test_an_unknown_run_is_waited_for(api: Api) -> None:
    """A 404 would hang the official client for ever; the run may only not be visible yet."""
    feed = Feed(api, "runs/run_unknown")

    assert await feed.next() == []
    assert await feed.next() == []
    assert feed.reply.status_code == 200


async def test_a_run_of_another_environment_stays_unknown(api: Api) -> None:
    run = await api.trigger()
    other = await api.engine.tenancy.create_project("other", ref="proj_other")
    feed = Feed(api, f"runs/{run}", api.with_bearer(other.keys["dev"]))

    assert await feed.next() == []


async def test_columns_can_be_skipped_but_not_those_that_clients_need(api: Api) -> None:
    run = await api.trigger(payload={"a": 1})
    feed = Feed(api, f"runs/{run}", skipColumns="payload,output,status,updatedAt,nonsense")

    [message] = await feed.next()

    schema = json.loads(feed.reply.headers["electric-schema"])
    assert not {"payload", "output"} & (set(message["value"]) | set(schema))
    assert {"status", "updatedAt", "metadata"} <= set(message["value"])


async def test_a_tokens_mask_cannot_be_undone(api: Api) -> None:
    run = await api.trigger(payload={"a": 1})
    token = await api.engine.tokens.mint(
        api.platform.environment, (f"read:runs:{run}",), skip_columns=("payload",)
    )
    feed = Feed(api, f"runs/{run}", api.with_bearer(token), skipColumns="output")

    [message] = await feed.next()

    assert not {"payload", "output"} & set(message["value"])


async def test_a_handle_of_another_feed_has_to_begin_anew(api: Api) -> None:
    run = await api.trigger()
    feed = Feed(api, f"runs/{run}")
    await feed.next()
    query = {"handle": "nonsense", "offset": feed.offset, "live": "true", "cursor": ""}

    reply = await api.client.get(feed.path, params=query)

    assert reply.status_code == 409
    assert reply.json() == [{"headers": {"control": "must-refetch"}}]
    assert reply.headers["electric-handle"] == feed.handle
    assert reply.headers["x-should-retry"] == "false"
    again = {
        "handle": reply.headers["electric-handle"],
        "offset": "-1",
        "expired_handle": "nonsense",
    }
    assert (await api.client.get(feed.path, params=again)).status_code == 200


async def test_a_feed_goes_on_where_it_was_without_the_last_answer_again(api: Api) -> None:
    """A catch-up request of who is not told to be up to date gets nothing twice."""
    run = await api.trigger(options={"delay": "1h"})
    feed = Feed(api, f"runs/{run}")
    await feed.next()
    feed.live = False

    assert await feed.next() == []


async def test_runs_with_all_tags_are_followed(api: Api) -> None:
    both = await api.trigger(options={"tags": ["a", "b"]})
    await api.trigger(options={"tags": ["a"]})
    feed = Feed(api, "runs", tags="a,b", createdAt="1h")

    await feed.next()
    assert set(feed.rows) == {both}
    late = await api.trigger(options={"tags": ["b"]})
    await api.client.post(f"/api/v1/runs/{late}/tags", json={"tags": ["a"]})
    await feed.until(late, runTags='{"a","b"}')
    (await api.worker.claim(both)).complete()
    await feed.until(both, status="COMPLETED_SUCCESSFULLY")

    assert set(feed.rows) == {both, late}


async def test_a_list_tells_only_what_changed(api: Api) -> None:
    runs = [await api.trigger(options={"tags": ["t"], "delay": "1h"}) for _ in range(3)]
    feed = Feed(api, "runs", tags="t")
    assert len(await feed.next()) == 3

    await api.client.put(f"/api/v1/runs/{runs[1]}/metadata", json={"metadata": {"n": 1}})
    [message] = await feed.next()

    assert message["headers"]["operation"] == "update"
    assert message["value"]["friendlyId"] == runs[1]


async def test_the_window_of_tags_is_pinned_by_the_first_request(api: Api) -> None:
    """It would slide otherwise, and a feed that goes on for long would lose its first runs."""
    run = await api.trigger(options={"tags": ["t"], "delay": "2h"})
    feed = Feed(api, "runs", tags="t", createdAt="1h")
    await feed.next()
    handle = feed.handle
    feed.query = {"tags": "t", "createdAt": "1m"}  # what is asked later does not count

    await api.client.put(f"/api/v1/runs/{run}/metadata", json={"metadata": {"n": 1}})
    await feed.until(run, metadata='{"n": 1}')

    assert feed.handle == handle
    narrow = Feed(api, "runs", tags="t", createdAt="1m")
    await narrow.next()
    assert 3540 - 10 <= _since(narrow) - _since(feed) <= 3540 + 60


def _since(feed: Feed) -> int:
    """Return the moment that a handle carries."""
    return int(feed.handle.partition("-")[2])


async def test_a_batch_is_followed(api: Api) -> None:
    made = await api.client.post("/api/v3/batches", json={"runCount": 2})
    batch = made.json()["id"]
    items = "\n".join(json.dumps({"index": n, "task": "hello", "payload": "1"}) for n in range(2))
    sealed = await api.client.post(
        f"/api/v3/batches/{batch}/items",
        content=items,
        headers={"content-type": "application/x-ndjson"},
    )
    assert sealed.json()["sealed"], sealed.text
    feed = Feed(api, f"batches/{batch}")

    assert len(await feed.next()) == 2
    for run in list(feed.rows):
        (await api.worker.claim(run)).complete()
        await feed.until(run, status="COMPLETED_SUCCESSFULLY")


async def test_a_cold_server_tells_what_happened_meanwhile(api: Api) -> None:
    """The offset says which state the caller has; no server has to remember it."""
    run, claim = await claimed(api)
    feed = Feed(api, f"runs/{run}")
    await feed.next()
    await feed.until(run, status=feed.rows[run]["status"])
    claim.complete()
    await api.ended(run)

    api.engine.changes._watches.clear()
    api.engine.changes._holders.clear()
    api.engine.changes._versions.clear()
    await feed.next()

    assert feed.rows[run]["status"] == "COMPLETED_SUCCESSFULLY"


@pytest.mark.parametrize(
    ("query", "param"),
    [({"offset": "soon"}, "offset"), ({"offset": "1_"}, "offset"), ({"offset": "²_1"}, "offset")],
)
async def test_a_malformed_offset_is_refused(api: Api, query: dict[str, str], param: str) -> None:
    reply = await api.client.get("/realtime/v1/runs/run_1", params=query)

    assert (reply.status_code, reply.json()["param"]) == (400, param)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"tags": ","},
        {"tags": "a", "createdAt": "soon"},
        {"tags": "a\0"},
        {"tags": "a" * 129},
        {"tags": ",".join("abcdefghijk")},
    ],
)
async def test_tags_and_window_are_checked(api: Api, query: dict[str, str]) -> None:
    reply = await api.client.get("/realtime/v1/runs", params={"offset": "-1", **query})

    assert reply.status_code == 400


@pytest.mark.parametrize(
    ("scope", "path", "allowed"),
    [
        ("read:runs:{run}", "runs/{run}", True),
        ("read:runs", "runs/{run}", True),
        ("read:tags:t", "runs/{run}", True),
        ("read:tasks:hello", "runs/{run}", True),
        ("read:runs:run_other", "runs/{run}", False),
        ("write:runs:{run}", "runs/{run}", False),
        ("read:tags:other", "runs/{run}", False),
        ("read:tags:t", "runs?tags=t,u", True),
        ("read:tags", "runs?tags=t", True),
        ("read:runs", "runs?tags=t", True),
        ("read:tags:other", "runs?tags=t", False),
        ("read:runs:{run}", "runs?tags=t", False),
        ("read:batch:batch_1", "batches/batch_1", True),
        ("read:runs", "batches/batch_1", True),
        ("read:batch:batch_2", "batches/batch_1", False),
        ("read:runs:{run}", "batches/batch_1", False),
    ],
)
async def test_scopes_decide_at_each_request(
    api: Api, scope: str, path: str, allowed: bool
) -> None:
    run = await api.trigger(options={"tags": ["t"]})
    token = await api.engine.tokens.mint(api.platform.environment, (scope.format(run=run),))

    async with api.with_bearer(token) as client:
        reply = await client.get(f"/realtime/v1/{path.format(run=run)}", params=None)

    assert reply.status_code == (200 if allowed else 403), reply.text


@pytest.mark.parametrize("path", ["runs/run_1", "runs?tags=t", "batches/batch_1"])
async def test_nobody_comes_in_without_a_key(api: Api, path: str) -> None:
    async with api.with_bearer(None) as client:
        assert (await client.get(f"/realtime/v1/{path}")).status_code == 401


async def test_a_browser_of_another_origin_may_ask(api: Api) -> None:
    asked = "authorization, trigger-version, x-trigger-electric-version, x-trigger-branch"
    reply = await api.client.options(
        "/realtime/v1/runs/run_1",
        headers={"origin": "https://app.example", "access-control-request-headers": asked},
    )

    assert reply.status_code == 204
    assert reply.headers["access-control-allow-headers"] == asked


async def test_a_server_that_stops_lets_its_long_polls_go(api: Api) -> None:
    run = await api.trigger(options={"delay": "1h"})
    feed = Feed(api, f"runs/{run}")
    await feed.next()
    polling = asyncio.create_task(feed.next())
    await asyncio.sleep(0)

    api.engine.changes.release()

    async with asyncio.timeout(5):
        assert await polling == []
