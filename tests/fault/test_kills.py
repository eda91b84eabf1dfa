"""SIGKILL of every process in the middle of runs with steps and children: nothing is lost."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleet import Fleet, fleet
from polling import until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]

RUNS = 30


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(tmp_path) as made:
        yield made


async def test_an_executor_killed_costs_no_attempt(town: Fleet) -> None:
    await town.server()
    await town.worker()
    runs = await town.trigger("family", RUNS)
    await town.some_effects(RUNS)

    for pid in town.executors():
        os.kill(pid, signal.SIGKILL)

    await town.assert_whole(runs)
    [row] = await town.sql("select max(attempt) from outlast.run_state")
    assert row[0] == 1


async def test_a_worker_killed_leaves_no_executor_and_another_goes_on(town: Fleet) -> None:
    await town.server()
    worker = await town.worker()
    runs = await town.trigger("family", RUNS)
    await town.some_effects(RUNS)

    worker.kill()
    await until(lambda: not town.executors(), seconds=1.0, what="executors outlived their worker")
    await town.worker()

    await town.assert_whole(runs)


async def test_a_server_killed_is_replaced_by_the_other(town: Fleet) -> None:
    first = await town.server()
    await town.server()
    await town.worker()
    runs = await town.trigger("family", RUNS)
    await town.some_effects(RUNS // 2)

    first.kill()

    await town.assert_whole(runs)


async def test_a_crash_of_postgresql_loses_nothing_acknowledged(town: Fleet) -> None:
    await town.server()
    await town.worker()
    runs = await town.trigger("family", RUNS)
    await town.some_effects(RUNS // 2)

    await town.crash_database()

    await town.assert_whole(runs)


async def test_sys_exit_and_a_segfault_change_the_result_of_no_other_run(town: Fleet) -> None:
    await town.server()
    await town.worker()
    runs = await town.trigger("family", RUNS)
    await town.trigger("exits", 1)
    await town.trigger("segfaults", 1)

    await town.assert_whole(runs)


async def test_a_stopped_worker_that_goes_on_after_its_lease_starts_nothing_new(
    town: Fleet,
) -> None:
    await town.server()
    stopped = await town.worker()
    runs = await town.trigger("family", RUNS)
    await town.some_effects(RUNS // 2)

    os.kill(stopped.pid, signal.SIGSTOP)
    for pid in town.executors():
        os.kill(pid, signal.SIGSTOP)
    frozen = town.executors()
    await town.worker()
    await town.all_ended(runs)
    before = len(town.noted())
    for pid in (*frozen, stopped.pid):
        os.kill(pid, signal.SIGCONT)
    await until(
        lambda: not set(frozen) & set(town.executors()), seconds=20, what="a zombie goes on"
    )

    assert len(town.noted()) - before <= len(frozen) * RUNS
    await town.assert_whole(runs)


async def test_a_stopped_server_holds_up_nobody_for_long(town: Fleet) -> None:
    first = await town.server()
    await town.server()
    await town.worker()
    runs = await town.trigger("family", RUNS)
    await town.some_effects(RUNS // 2)

    os.kill(first.pid, signal.SIGSTOP)
    town.apis.remove(town.apis[0])
    more = await town.trigger("family", 5)

    await town.all_ended([*runs, *more])
    os.kill(first.pid, signal.SIGCONT)
    await town.assert_whole([*runs, *more])


async def test_after_an_outage_of_the_database_nothing_is_rescued_that_lives(town: Fleet) -> None:
    await town.server()
    await town.worker()
    runs = await town.trigger("family", RUNS)
    await town.some_effects(RUNS // 2)

    await town.freeze_database(18.0)

    await town.assert_whole(runs)
    [row] = await town.sql("select count(*) from outlast.event where kind = 'rescued'")
    assert row[0] == 0
