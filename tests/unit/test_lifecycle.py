"""A service starts, says so, and stops, in whatever order it is asked to."""

import asyncio

import pytest

from outlast.lifecycle import Service


class Agent(Service):
    """Counts how often it runs."""

    def __init__(self, failure: Exception | None = None, *, early: bool = False) -> None:
        super().__init__()
        self.failure = failure
        self.early = early
        self.running = 0
        self.begun = 0

    async def run(self) -> None:
        self.begun += 1
        self.running += 1
        try:
            if self.failure is not None and self.early:
                raise self.failure
            self.ready()
            if self.failure is not None:
                raise self.failure
            await asyncio.Event().wait()
        finally:
            self.running -= 1


async def test_a_started_service_runs_until_it_is_stopped() -> None:
    agent = Agent()

    await agent.start()
    assert agent.running == 1
    await agent.stop()

    assert agent.running == 0


async def test_a_storm_of_starts_and_stops_leaves_nothing_behind() -> None:
    agent = Agent()

    for _ in range(20):
        await asyncio.gather(agent.start(), agent.start())
        await asyncio.gather(agent.stop(), agent.stop())

    assert agent.running == 0
    assert agent.begun == 20


async def test_a_service_that_fails_before_it_is_ready_fails_its_start() -> None:
    with pytest.raises(ValueError, match="broken"):
        await Agent(ValueError("broken"), early=True).start()


async def test_a_later_failure_is_told_by_stop() -> None:
    agent = Agent(ValueError("broken"))
    await agent.start()

    with pytest.raises(ValueError, match="broken"):
        await agent.stop()


async def test_a_service_can_be_a_block() -> None:
    async with Agent() as agent:
        assert agent.running == 1

    assert agent.running == 0
