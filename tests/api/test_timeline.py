"""What a run did can be read: its journal, its logs, its events."""

from api_server import Api
from outlast.protocol.frames import Kind
from outlast.protocol.messages import Empty, LogLine, Report
from outlast.protocol.triggers import Trigger


async def test_the_journal_names_steps_and_children_in_order(api: Api) -> None:
    run = await api.trigger()
    claimed = await api.worker.claim(run)
    await claimed.step("step:charge#0")
    called = await claimed.call("child:hello#0", "child", Trigger(task="hello"))

    body = (await api.client.get(f"/api/outlast/v1/runs/{run}/journal")).json()

    step, child = body["entries"]
    assert (step["kind"], step["status"]) == ("step", "FINISHED")
    assert (child["kind"], child["status"]) == ("child", "OPEN")
    assert child["runs"] == [called.runs[0].run_id]
    assert "finishedAt" not in child


async def test_logs_come_in_pages(api: Api) -> None:
    run = await api.trigger()
    claimed = await api.worker.claim(run)
    lines = tuple(LogLine(at=1.5 + n, level="INFO", message=f"line {n}") for n in range(3))
    await claimed.ack(claimed.send(Kind.REPORT, Report(logs=lines)), Empty)
    url = f"/api/outlast/v1/runs/{run}/logs"

    first = (await api.client.get(f"{url}?limit=2")).json()
    rest = (await api.client.get(f"{url}?after={first['next']}")).json()

    assert [line["message"] for line in first["lines"]] == ["line 0", "line 1"]
    assert [line["message"] for line in rest["lines"]] == ["line 2"]
    assert "next" not in rest
    assert first["lines"][0]["at"] == "1970-01-01T00:00:01.500Z"


async def test_a_run_without_events_has_an_empty_list(api: Api) -> None:
    run = await api.trigger()

    assert (await api.client.get(f"/api/v1/runs/{run}/events")).json() == {"events": []}


async def test_a_page_that_makes_no_sense_is_a_400(api: Api) -> None:
    run = await api.trigger()

    for query in ("after=x", "after=-1", "limit=0", "after=99999999999999999999"):
        reply = await api.client.get(f"/api/outlast/v1/runs/{run}/logs?{query}")

        assert reply.status_code == 400
        assert reply.json()["error"].startswith(("query.after: ", "query.limit: "))


async def test_a_token_reads_only_what_it_names(api: Api) -> None:
    run = await api.trigger()
    token = await api.engine.tokens.mint(api.platform.environment, ("read:runs:run_other",))

    async with api.with_bearer(token) as client:
        for path in ("outlast/v1/runs/{}/journal", "outlast/v1/runs/{}/logs", "v1/runs/{}/events"):
            assert (await client.get(f"/api/{path.format(run)}")).status_code == 403
