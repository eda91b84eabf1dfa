"""What one server decides reaches a worker that is connected to the other."""

from collections.abc import AsyncIterator

import pytest

from engines import Platform, platform
from fake_worker import FakeWorker, manifest
from outlast.protocol.triggers import Trigger


@pytest.fixture
async def place(fresh_url: str) -> AsyncIterator[Platform]:
    async with platform(fresh_url) as made:
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
