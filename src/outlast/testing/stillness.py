"""When a platform has come to rest: every run has ended, waits, or cannot be claimed."""

import asyncio

from outlast.engine.engine import Engine
from outlast.engine.probe import Probe
from outlast.testing.worker import Worker
from outlast.worker.slot import State

PATIENCE = 10.0
"""Real seconds without any progress after which a run that goes on is an error."""
_PAUSE = 0.005


class NeverStillError(AssertionError):
    """A run neither ended nor waited: it did something else for too long."""


async def settle(engine: Engine, worker: Worker, probe: Probe, environment: str) -> None:
    """Return once nothing goes on that time, or somebody from outside, does not have to begin.

    What a run does besides waiting (requests, threads, `asyncio.sleep`) is waited for, as long as
    something happens every now and then. Raises `NeverStillError`.
    """
    loop = asyncio.get_running_loop()
    deadline, heard = loop.time() + PATIENCE, -1
    while True:
        crossed = worker.wire.crossed
        worker.flush()
        await engine.gateway.settle(PATIENCE)
        await engine.cycles.of(environment).settle()
        await asyncio.sleep(0)
        going_on = worker.wire.busy or await _goes_on(worker, probe)
        if not going_on and worker.wire.crossed == crossed:
            return
        if worker.wire.crossed != heard:
            heard, deadline = worker.wire.crossed, loop.time() + PATIENCE
        elif loop.time() > deadline:
            raise NeverStillError(_why(worker))
        else:
            await asyncio.sleep(_PAUSE)


async def _goes_on(worker: Worker, probe: Probe) -> bool:
    awaited: list[tuple[str, str]] = []
    executing: set[tuple[str, int]] = set()
    for run in worker.executor.mortals():
        keys = run.awaited()
        if keys is None:
            return True
        if run.state is State.EXECUTING:
            executing.add((run.id, run.token))
            awaited += [(run.id, key) for key in keys]
    if {(held.run, held.token) for held in await probe.executing()} != executing:
        return True  # a claim, or the news of an end, is on its way
    return bool(awaited) and await probe.has_news(awaited)


def _why(worker: Worker) -> str:
    busy = [run for run in worker.executor.mortals() if run.awaited() is None]
    told = "".join(
        f"\n  {run.id} ({run.task.id}) "
        + (f"at {run.where()}" if run.state is State.EXECUTING else f"is {run.state.value}")
        for run in busy
    )
    return (
        f"the platform does not come to rest: nothing happened for {PATIENCE:.0f} real seconds"
        f"{told or ', and no run executes: the engine waits for something'}\n"
        "a run that waits with wait.* rests; one that sleeps or waits for others by itself does not"
    )
