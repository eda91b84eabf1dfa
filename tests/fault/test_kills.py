"""Every process killed or stopped in the middle of runs with steps and children."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleet import Fleet, fleet
from outlast.protocol.frames import LEASE_SECONDS
from polling import until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

MANY = 500
RUNS = 30
OUTAGE = 2 * LEASE_SECONDS
"""Long enough for every lease to run out, if the outage did not excuse the silence."""


@pytest.fixture
async def town(tmp_path: Path, fresh_url: str) -> AsyncIterator[Fleet]:
    async with fleet(tmp_path, url=fresh_url) as made:
        yield made


@pytest.fixture
async def grounded(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Give a fleet whose PostgreSQL can be struck too."""
    async with fleet(tmp_path) as made:
        yield made


async def in_the_middle(town: Fleet) -> list[str]:
    """Trigger many runs and return when a fifth of what they do is done."""
    runs = await town.trigger("family", MANY)
    await town.some_effects(2 * MANY)
    return runs


async def test_an_executor_killed_costs_no_attempt(town: Fleet) -> None:
    await town.server()
    await town.worker()
    runs = await in_the_middle(town)

    killed = await town.moment()
    for pid in town.executors():
        os.kill(pid, signal.SIGKILL)

    await town.assert_whole(runs, seconds=120)
    [row] = await town.sql("select max(attempt) from outlast.run_state")
    assert row[0] == 1
    assert await town.rescued_after(killed) < 7


async def test_a_worker_killed_leaves_no_executor_and_another_goes_on(town: Fleet) -> None:
    await town.server()
    worker = await town.worker()
    runs = await in_the_middle(town)

    worker.kill()
    await until(lambda: not town.executors(), seconds=1.0, what="executors outlived their worker")
    await town.worker()
    closed = await town.socket_closed()

    await town.assert_whole(runs, seconds=120)
    assert await town.rescued_after(closed) < 7


async def test_a_server_killed_is_replaced_by_the_other(town: Fleet) -> None:
    servers = {"fleet-0": await town.server(), "fleet-1": await town.server()}
    await town.worker()
    runs = await in_the_middle(town)
    [before] = await town.sql("select id, server_id from outlast.session")

    killed = await town.moment()
    servers.pop(before["server_id"]).kill()

    await town.assert_whole(runs, seconds=120)
    [after] = await town.sql("select id, server_id, lost_at from outlast.session")
    assert tuple(after) == (before["id"], next(iter(servers)), None)
    assert await town.longest_pause_after(killed) < 7


async def test_a_crash_of_postgresql_loses_nothing_acknowledged(grounded: Fleet) -> None:
    await grounded.server()
    await grounded.worker()
    runs = await in_the_middle(grounded)

    killed = await grounded.moment()
    await grounded.crash_database()

    await grounded.assert_whole(runs, seconds=120)
    assert await grounded.longest_pause_after(killed) < 20


@pytest.mark.parametrize("what", ["executor", "worker"])
async def test_an_interrupted_step_runs_again_under_its_token_and_is_recorded_once(
    town: Fleet, tmp_path: Path, what: str
) -> None:
    def begun() -> Counter[str]:
        return Counter(run for kind, run, *_ in town.noted() if kind == "S")

    await town.server()
    worker = await town.worker()
    gate = tmp_path / "gate"
    runs = await town.trigger("held", RUNS, str(gate))
    await until(lambda: len(begun()) == RUNS, seconds=30, what=town.logs())

    for pid in [worker.pid] if what == "worker" else town.executors():
        os.kill(pid, signal.SIGKILL)
    if what == "worker":
        await town.worker()
    await until(lambda: max(begun().values()) > 1, seconds=30, what=town.logs())
    gate.touch()

    await town.all_ended(runs)
    await town.assert_steps_held()
    assert begun() == dict.fromkeys(runs, 2)
    assert await town.count("select max(attempt) from outlast.run_state") == 1
    assert await town.audit() == []


@pytest.mark.parametrize("task", ["exits", "segfaults", "blocks"])
async def test_one_bad_run_changes_the_result_of_no_other(town: Fleet, task: str) -> None:
    """sys.exit(), a segfault and a loop blocked for ever, beside others in a shared executor."""
    await town.server()
    await town.worker()
    runs = await town.trigger("family", RUNS)
    [bad] = await town.trigger(task)

    await town.assert_whole(runs)
    await town.ended([bad])
    [row] = await town.sql("select status from outlast.run_end where run_id = $1", bad)
    assert row["status"] in {"failed", "crashed", "timed_out"}
    [row] = await town.sql(
        "select max(attempt) from outlast.run_state where run_id = any($1::text[])", runs
    )
    assert row[0] == 1


async def test_a_stopped_worker_that_goes_on_after_its_lease_starts_nothing_new(
    town: Fleet, tmp_path: Path
) -> None:
    await town.server()
    stopped = await town.worker()
    gate = tmp_path / "gate"
    runs = await town.trigger("gated", RUNS, str(gate))
    await until(
        lambda: sum(kind == "W" for kind, *_ in town.noted()) == RUNS, seconds=30, what=town.logs()
    )

    frozen = town.executors()
    moment = await town.moment()
    for pid in (stopped.pid, *frozen):
        os.kill(pid, signal.SIGSTOP)
    gate.touch()
    await town.worker()
    await town.all_ended(runs)
    for pid in (*frozen, stopped.pid):
        os.kill(pid, signal.SIGCONT)
    await until(
        lambda: not set(frozen) & set(town.executors()), seconds=20, what="a zombie goes on"
    )

    late = [run for kind, run, name, *pid in town.noted() if name == "second" and kind == "S"
            and int(pid[0]) in frozen]  # fmt: skip
    assert late == []
    await town.assert_steps_held()
    assert await town.rescued_after(moment) < 20
    assert await town.audit() == []


async def test_a_server_stopped_in_mid_turn_holds_up_nobody_for_long(town: Fleet) -> None:
    await town.server()
    await town.worker()
    holder = await town.server(plan="triggers:stopped:1")
    runs = await town.trigger("family", RUNS)
    town.apis.reverse()  # the next triggers go through the one that will stop
    asked: list[asyncio.Task[list[str]]] = []
    while not town.strikes():
        if all(request.done() for request in asked):
            asked.append(asyncio.create_task(town.trigger("family")))
        await asyncio.sleep(0.01)

    stopped = await town.moment()
    town.apis.remove(town.apis[0])
    [more] = await town.trigger("family")
    await town.all_ended([*runs, more])
    [row] = await town.sql("select created_at from outlast.run where id = $1", more)
    assert (row["created_at"] - stopped).total_seconds() < 5

    os.kill(holder.pid, signal.SIGCONT)
    for made in await asyncio.gather(*asked):
        runs += made
    await town.assert_whole([*runs, more])


async def test_after_an_outage_of_the_database_nothing_is_rescued_that_lives(
    grounded: Fleet,
) -> None:
    await grounded.server()
    await grounded.worker()
    runs = await in_the_middle(grounded)

    async with grounded.frozen_database():
        await asyncio.sleep(OUTAGE)

    await grounded.assert_whole(runs, seconds=90)
    rescued = await grounded.sql(
        # what the worker itself hands back, because it did not begin it, lives nowhere
        "select run_id, at, detail from outlast.event"
        " where kind = 'rescued' and detail <> 'handed back'"
    )
    assert rescued == []
