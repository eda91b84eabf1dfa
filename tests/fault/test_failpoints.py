"""A connection killed beside a commit, and a server killed before it could tell anybody."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleet import Fleet, fleet

pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]

RUNS = 500
POINTS = ("triggers", "claims", "calls", "suspends", "ends", "results", "journal")


@pytest.fixture
async def town(tmp_path: Path, fresh_url: str) -> AsyncIterator[Fleet]:
    async with fleet(tmp_path, url=fresh_url) as made:
        yield made


@pytest.mark.parametrize("how", ["before", "after"])
async def test_a_connection_lost_beside_a_commit_costs_nothing(town: Fleet, how: str) -> None:
    await town.server(plan=" ".join(f"{point}:{how}:2" for point in POINTS))
    await town.worker()
    runs = await town.trigger("family", RUNS)

    deadline = time.monotonic() + 30
    while len(town.strikes()) < 2 * len(POINTS):
        assert time.monotonic() < deadline, f"{town.strikes()}\n{town.logs()}"
        runs += await town.trigger("family", 2, "watchful")

    await town.assert_whole(runs)
    assert Counter(town.strikes()) == {f"{point}:{how}": 2 for point in POINTS}


async def test_a_server_killed_between_commit_and_push_costs_nothing(town: Fleet) -> None:
    """Two servers take turns: each dies at the next point, the other goes on."""
    points = [point for point in POINTS if point != "triggers"]
    servers = [await town.server(plan=f"{point}:killed:1") for point in points[:2]]
    await town.worker()
    runs = await town.trigger("family", RUNS)

    for point in [*points[2:], None, None]:
        deadline = time.monotonic() + 30
        while (dead := next((i for i in (0, 1) if servers[i].poll() is not None), None)) is None:
            assert time.monotonic() < deadline, f"nothing died before {point}\n{town.logs()}"
            runs += await town.trigger("family", 2, "watchful")
        plan = f"{point}:killed:1" if point else ""
        servers[dead] = await town.server(plan=plan, api=town.apis[dead])

    await town.assert_whole(runs)
    assert Counter(town.strikes()) == {f"{point}:killed": 1 for point in points}
