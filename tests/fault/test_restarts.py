"""Loops that begin again, and everything around them killed meanwhile."""

import asyncio
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from fleet import fleet

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

LOOPS = 20
GENERATIONS = 30

TASKS = f'''\
"""A loop: B a generation began with its payload, S its step, both with what counts them."""

import os

from outlast import Restart, step, task

EFFECTS = os.environ["FLEET_EFFECTS"]


def note(*words: object) -> None:
    with open(EFFECTS, "a") as file:
        print(*words, file=file)


@task("loop")
async def loop(payload: int, ctx) -> int:
    note("B", ctx.run.id, ctx.run.generation, payload, ctx.attempt.number)

    def work() -> int:
        note("S", ctx.run.id, ctx.run.generation, ctx.step.token)
        return payload + 1

    following = await step("work", work)
    if following == {GENERATIONS}:
        return following
    raise Restart(following)
'''


async def test_kills_around_restarts_cost_no_generation_and_begin_none_twice(
    tmp_path: Path,
) -> None:
    async with fleet(tmp_path, TASKS) as town:
        servers = [await town.server(), await town.server()]
        worker = await town.worker()
        runs = await town.trigger("loop", LOOPS, payload=0)
        for turn, what in enumerate(("executors", "worker", "server", "worker", "server"), 1):
            await town.some_effects(LOOPS * 10 * turn)
            await asyncio.sleep(random.random() / 5)
            if what == "executors":
                for pid in town.executors():
                    os.kill(pid, signal.SIGKILL)
            elif what == "worker":
                worker.kill()
                worker = await town.worker()
            else:
                servers[0].kill()
                servers = [servers[1], await town.server()]

        await town.all_ended(runs, seconds=120)

        begun = {(run, generation): payload for kind, run, generation, payload, *_ in
                 (line for line in town.noted() if line[0] == "B")}  # fmt: skip
        assert begun == {(run, str(n + 1)): str(n) for run in runs for n in range(GENERATIONS)}
        tokens = {(line[1], line[2], line[3]) for line in town.noted() if line[0] == "S"}
        assert Counter(run for run, *_ in tokens) == dict.fromkeys(runs, GENERATIONS)
        assert len({token for *_, token in tokens}) == LOOPS * GENERATIONS
        [row] = await town.sql(
            "select min(generation), max(generation), max(attempt - earlier_attempts) "
            "from outlast.run_state"
        )
        assert tuple(row) == (GENERATIONS, GENERATIONS, 1)
        assert await town.count("select count(*) from outlast.entry") == LOOPS
        assert await town.audit() == []
