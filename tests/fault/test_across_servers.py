"""What one server decides reaches a worker that is connected to the other."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from engines import Platform, platform
from fake_worker import FakeWorker, manifest
from fleet import Fleet, fleet
from outlast.protocol.triggers import Trigger
from polling import until


@pytest.fixture
async def place(fresh_url: str) -> AsyncIterator[Platform]:
    async with platform(fresh_url) as made:
        yield made


@pytest.fixture
async def town(tmp_path: Path, fresh_url: str) -> AsyncIterator[Fleet]:
    """Give two servers, each with a worker that knows no other."""
    async with fleet(tmp_path, url=fresh_url) as made:
        await made.server()
        await made.worker("--processes", "1", apis=made.apis)
        await made.server()
        yield made


async def test_a_resume_reaches_the_worker_that_parks_the_run(place: Platform) -> None:
    one, two = await place.server(), await place.server()
    offered = manifest("parent", "child")
    parents = await FakeWorker.open(one, place.environment, offered, shared=1)
    [made] = await one.trigger(place.environment, [Trigger(task="parent")])
    parent = await parents.claim(made.run_id)
    children = await FakeWorker.open(two, place.environment, offered, session="session_b", shared=1)
    called = await parent.call("child:child#0", "child", Trigger(task="child"))
    child = await children.claim(called.runs[0].run_id)
    assert await parent.suspend("child:child#0")

    child.complete("42")
    resumed = await parents.claim(made.run_id)

    assert resumed.claim.resume == "warm"
    [entry] = [each for each in resumed.claim.entries if each.key == "child:child#0"]
    assert entry.outcome is not None
    assert entry.outcome.value == "42"
    resumed.complete()
    assert await two.ends.wait(place.environment.id, made.run_id, 5)
    assert await one._audit.environment(place.environment.id) == []


@pytest.mark.processes
@pytest.mark.timeout(150)
async def test_a_cancel_reaches_the_worker_of_the_other_server(town: Fleet, tmp_path: Path) -> None:
    [run] = await town.trigger("gated", 1, str(tmp_path / "gate"))
    await until(lambda: ["W", run, "gate"] in town.noted(), seconds=30, what=town.logs())
    [row] = await town.sql("select server_id from outlast.session")
    assert row["server_id"] == "fleet-0"

    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(
            f"{town.apis[1]}/api/v2/runs/{run}/cancel",
            headers={"authorization": f"Bearer {town.key}"},
        )

    assert answer.status_code == 200, answer.text
    await town.ended([run], seconds=20)  # past 30 s it would be ended without its worker
    [end] = await town.sql("select status, error from outlast.run_end where run_id = $1", run)
    assert end["status"] == "canceled"
    assert await town.audit() == []


@pytest.mark.processes
@pytest.mark.timeout(150)
async def test_results_reach_a_parent_that_executes_at_the_other_server(town: Fleet) -> None:
    await town.worker("--processes", "1", apis=town.apis[1:])

    runs = await town.trigger("crowd", 4)
    await town.all_ended(runs)

    crossed = 0
    for kind, _, parent, *children in town.noted():
        assert kind == "P"
        assert len(children) == 6
        crossed += sum(child != parent for child in children)
    assert crossed
    assert await town.audit() == []
