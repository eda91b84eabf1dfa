"""Metadata and tags are changed from outside; lines, spans and the trace of a run are read."""

import pytest

from api_server import Api
from outlast.protocol.frames import Kind
from outlast.protocol.messages import Empty, LogLine, MetadataOperation, Report
from outlast.protocol.triggers import Trigger


async def put(api: Api, run: str, **body: object) -> tuple[int, object]:
    reply = await api.client.put(f"/api/v1/runs/{run}/metadata", json=body)
    return reply.status_code, reply.json()


async def test_metadata_is_changed_in_the_order_of_the_operations(api: Api) -> None:
    run = await api.trigger(options={"metadata": {"old": 1}})

    answer = await put(
        api,
        run,
        operations=[
            {"type": "set", "key": "a", "value": {"b": [1]}},
            {"type": "append", "key": "$.a.b", "value": 2},
            {"type": "increment", "key": "n", "value": 1.5},
            {"type": "remove", "key": "$.a.b", "value": 1},
            {"type": "delete", "key": "old"},
        ],
    )

    assert answer == (200, {"metadata": {"a": {"b": [2]}, "n": 1.5}})
    whole = await put(
        api, run, metadata={"x": 1}, operations=[{"type": "increment", "key": "x", "value": 1}]
    )
    assert whole == (200, {"metadata": {"x": 2}})
    assert (await api.client.get(f"/api/v1/runs/{run}/metadata")).json() == whole[1]


async def test_operations_reach_parent_and_root(api: Api) -> None:
    parent = await api.worker.claim(await api.trigger())
    called = await parent.call("child:hello#0", "child", Trigger(task="hello"))
    child = str(called.runs[0].run_id)
    one = [{"type": "increment", "key": "n", "value": 1}]

    answer = await put(api, child, operations=one, parentOperations=one, rootOperations=one)

    assert answer == (200, {"metadata": {"n": 1}})
    reply = await api.client.get(f"/api/v1/runs/{parent.run}/metadata")
    assert reply.json() == {"metadata": {"n": 2}}


async def test_an_outer_change_and_one_of_the_code_both_count(api: Api) -> None:
    claimed = await api.worker.claim(await api.trigger())
    operation = MetadataOperation("", 1, "increment", ("n",), "2")

    await claimed.ack(claimed.send(Kind.REPORT, Report((operation,))), Empty)

    one = [{"type": "increment", "key": "n", "value": 1}]
    assert await put(api, claimed.run, operations=one) == (200, {"metadata": {"n": 3}})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"metadata": [1]}, "metadata: "),
        ({"operations": [{"type": "explode", "key": "a"}]}, "operations.0.type"),
        ({"operations": [{"type": "set", "key": "a"}]}, "a value is missing"),
        ({"operations": [{"type": "set", "value": 1}]}, "a key is missing"),
        ({"operations": [{"type": "increment", "key": "a", "value": "1"}]}, "must be a number"),
        ({"operations": [{"type": "update", "value": 1}]}, "must be an object"),
        ({"operations": [{"type": "set", "key": "$.a[", "value": 1}]}, "is no path like"),
        ({"operations": [{"type": "set", "key": "__proto__", "value": 1}]}, "cannot be a key"),
        ({"operations": [{"type": "set", "key": "$.constructor", "value": 1}]}, "cannot be a key"),
    ],
)
async def test_a_change_that_makes_no_sense_is_a_400(
    api: Api, body: dict[str, object], message: str
) -> None:
    run = await api.trigger()

    status, answer = await put(api, run, **body)

    assert status == 400
    assert message in str(answer)


async def test_metadata_over_256_kb_is_a_422_and_changes_nothing(api: Api) -> None:
    run = await api.trigger()
    large = {"type": "set", "key": "a", "value": "x" * 300_000}

    status, answer = await put(api, run, operations=[{**large, "key": "b", "value": 1}, large])

    assert status == 422
    assert "256 KB" in str(answer)
    assert (await api.client.get(f"/api/v1/runs/{run}/metadata")).json() == {"metadata": {}}


async def test_a_run_takes_ten_tags_and_is_found_by_each(api: Api) -> None:
    run = await api.trigger(options={"tags": ["t0"]})
    url = f"/api/v1/runs/{run}/tags"

    one = await api.client.post(url, json={"tags": "t1"})
    more = await api.client.post(url, json={"tags": [f"t{n}" for n in range(10)]})
    over = await api.client.post(url, json={"tags": ["t10"]})

    assert (one.status_code, one.json()) == (200, {"message": "1 tag set"})
    assert more.json() == {"message": "10 tags set"}
    assert over.status_code == 422
    assert "at most" in over.json()["error"]
    found = (await api.client.get("/api/v1/runs?filter[tag]=t7")).json()
    assert [each["id"] for each in found["data"]] == [run]
    assert (await api.client.post(url, json={"tags": "x" * 129})).status_code == 422


async def test_changes_need_a_secret_key_and_a_run_of_this_environment(api: Api) -> None:
    run = await api.trigger()
    token = await api.engine.tokens.mint(api.platform.environment, (f"write:runs:{run}",))

    async with api.with_bearer(token) as client:
        assert (await client.put(f"/api/v1/runs/{run}/metadata", json={})).status_code == 403
        assert (
            await client.post(f"/api/v1/runs/{run}/tags", json={"tags": "a"})
        ).status_code == 403
    assert (await put(api, "run_unknown"))[0] == 404
    reply = await api.client.post("/api/v1/runs/run_unknown/tags", json={"tags": "a"})
    assert reply.status_code == 404


async def test_a_trace_nests_spans_lines_and_entries(api: Api) -> None:
    claimed = await api.worker.claim(await api.trigger())
    lines = (
        LogLine(10.0, "TRACE", "outer", "", 1, "start", "aa", attributes='{"n":1}'),
        LogLine(11.0, "TRACE", "inner", "", 2, "start", "bb", "aa"),
        LogLine(11.5, "INFO", "inside", "", 3, span="bb"),
        LogLine(12.0, "ERROR", "ValueError: no", "", 4, "end", "bb"),
        LogLine(13.0, "TRACE", "outer", "", 5, "end", "aa"),
        LogLine(14.0, "TRACE", "open", "", 6, "start", "cc"),
    )
    await claimed.ack(claimed.send(Kind.REPORT, Report(logs=lines)), Empty)
    await claimed.step("step:charge#0")

    url = f"/api/v1/runs/{claimed.run}"
    trace = (await api.client.get(f"{url}/trace")).json()["trace"]
    flat = (await api.client.get(f"{url}/spans/bb")).json()

    root = trace["rootSpan"]
    assert (root["data"]["message"], root["data"]["isPartial"]) == ("hello", True)
    assert "parentId" not in root
    assert "properties" not in root["data"]
    outer, opened, step = root["children"]
    assert (outer["data"]["duration"], outer["data"]["properties"]) == (3_000, {"n": 1})
    assert opened["data"]["isPartial"]
    assert step["data"]["message"].startswith("step ")
    [inner] = outer["children"]
    assert (inner["data"]["duration"], inner["data"]["isError"]) == (1_000, True)
    assert [each["data"]["message"] for each in inner["children"]] == ["inside"]
    assert (flat["spanId"], flat["parentId"], flat["message"]) == ("bb", "aa", "inner")
    assert flat["durationMs"] == 1_000
    assert (await api.client.get(f"{url}/spans/zz")).status_code == 404
    logs = (await api.client.get(f"/api/outlast/v1/runs/{claimed.run}/logs")).json()["lines"]
    assert logs[0]["attributes"] == {"n": 1}
    assert [line["kind"] for line in logs] == ["start", "start", "line", "end", "end", "start"]
