"""Random programs, killed at random moments, take the same way again each time."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from outlast.sdk.errors import RunFailed
from stage import Server, child, sleep, step, trigger

PROGRAMS = 12
KILLS = 6


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    loop = asyncio.get_running_loop()
    server = Server()
    yield server
    server.crash()
    loop.set_task_factory(None)


@dataclass
class Program:
    """Code made of every shape that asyncio knows; `received` is what it got, in order."""

    seed: int
    received: list[str] = field(default_factory=list)

    async def block(self, chance: random.Random, depth: int) -> None:
        for _ in range(chance.randint(1, 3)):
            shapes: list[Callable[[random.Random, int], Awaitable[None]]] = [self.call]
            if depth:
                shapes += [self.gather, self.group, self.race, self.completed, self.bounded]
            await chance.choice(shapes)(chance, depth - 1)

    async def call(self, chance: random.Random, _depth: int) -> None:
        kind = chance.choice(["step", "child", "sleep", "trigger", "slow step"])
        name = chance.choice("abc")
        if kind == "step":
            self.received.append(f"step {await step(name, str, name)}")
        elif kind == "slow step":
            self.received.append(f"slow {await step(name, self.slow, name)}")
        elif kind == "child":
            try:
                self.received.append(f"child {await child(name)}")
            except RunFailed as error:
                self.received.append(f"failed {error.message}")
        elif kind == "trigger":
            (made,) = await trigger(name)
            self.received.append(f"trigger {made.run_id}")
        else:
            await sleep()
            self.received.append("slept")

    async def slow(self, name: str) -> str:
        await asyncio.sleep(0.001)
        return name

    def parts(self, chance: random.Random, depth: int) -> list[Awaitable[None]]:
        number = chance.randint(2, 3)
        return [self.block(random.Random(chance.random()), depth) for _ in range(number)]

    async def gather(self, chance: random.Random, depth: int) -> None:
        await asyncio.gather(*self.parts(chance, depth))

    async def group(self, chance: random.Random, depth: int) -> None:
        async with asyncio.TaskGroup() as group:
            for part in self.parts(chance, depth):
                group.create_task(part)  # type: ignore[arg-type]

    async def race(self, chance: random.Random, depth: int) -> None:
        tasks = [asyncio.ensure_future(part) for part in self.parts(chance, depth)]
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        won = [number for number, task in enumerate(tasks) if task in done]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self.received.append(await step("after the race", str, str(won)))

    async def completed(self, chance: random.Random, depth: int) -> None:
        for each in asyncio.as_completed(self.parts(chance, depth)):
            await each

    async def bounded(self, chance: random.Random, depth: int) -> None:
        async with asyncio.timeout(60):
            await self.block(chance, depth)


@pytest.mark.parametrize("seed", range(PROGRAMS))
@pytest.mark.parametrize("failures", [0, 1])
async def test_a_program_that_is_killed_goes_on_as_before(
    server: Server, seed: int, failures: int
) -> None:
    chance = random.Random(seed)
    program = Program(seed)

    async def job(ctx: Any) -> int:
        program.received = []
        await program.block(random.Random(seed), 3)
        if ctx.attempt.number <= failures:
            raise RuntimeError("the end of an attempt")
        return len(program.received)

    passes: list[tuple[list[str], int]] = []
    task = server.task(job)
    server.claim(task)
    for kill in range(KILLS + 1 + failures):
        last = kill >= KILLS
        await play(server, task, chance, turns=100_000 if last else chance.randint(1, 60))
        if "run_1" in server.ended:
            if server.attempts["run_1"] > failures:
                break
            passes.clear()
            server.retry(task)
            continue
        before, durable = program.received, server.order()
        given_up = {key for key, each in server.entries["run_1"].items() if each.abandoned}
        certain = min(len(before), len([key for key in durable if key not in given_up]))
        server.cold(task)
        passes.append((before[:certain], kill))
    end = server.ended["run_1"]
    assert not hasattr(end, "error"), end
    for received, kill in passes:
        assert program.received[: len(received)] == received, f"after kill {kill}"
    keys = [call.key for call in server.calls.get("run_1", [])]
    assert len(keys) == len(set(keys))


async def play(server: Server, task: str, chance: random.Random, turns: int) -> None:
    """Let the server's world go on: children end, in any order, for so many turns."""
    for _ in range(turns):
        if "run_1" in server.ended:
            return
        await asyncio.sleep(0.0005 if chance.random() < 0.1 else 0)
        entries = server.entries.get("run_1", {})
        opened = [key for key, each in entries.items() if each.outcome is None]
        if opened and chance.random() < 0.3:
            failed = chance.random() < 0.2
            server.finish(chance.choice(opened), "x", error="broken" if failed else None)
