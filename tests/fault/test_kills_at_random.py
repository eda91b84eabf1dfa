"""Random programs on the real engine: their worker is killed at random moments, and nothing shows.

What replays alone must hold, `tests/worker/test_replay_at_random.py` shows without an engine.
"""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import uuid4

import pytest

from outlast import Context, step, task, wait
from outlast.testing import Platform

SEEDS = 10
RUNS = 3  # of each program, side by side
KILLS = 3  # a run that loses its worker more often without getting on is taken for the guilty one
DEPTH = 2


class Record:
    """What all passes of all runs did, by run and step."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.received: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.repeated: list[tuple[str, str]] = []
        self.answered: set[str] = set()
        """Children whose result the code got."""


record = Record()


async def remembered(ctx: Context, name: str) -> None:
    """Take a step that gives another value each time its body runs."""

    async def work() -> str:
        if (ctx.run.id, name) in record.received:
            record.repeated.append((ctx.run.id, name))
        await asyncio.sleep(random.choice((0, 0, 0.002)))
        return str(uuid4())

    value = await step(name, work)
    record.received[ctx.run.id, name].add(value)


@task("leaf")
async def leaf(payload: str, ctx: Context) -> str:
    """Do a little, so that a child can be killed too."""
    await remembered(ctx, "first")
    await remembered(ctx, "second")
    return payload


@task("program")
async def program(payload: int, ctx: Context) -> None:
    """Do what the seed says, the same in each pass."""
    await Program(ctx).block(ctx.run.id, random.Random(payload), DEPTH)


class Program:
    """Code made of every shape that asyncio knows; a part's place in it is its name."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx

    async def block(self, at: str, chance: random.Random, depth: int) -> None:
        shapes: list[Callable[[str, random.Random, int], Awaitable[None]]] = [
            self.step, self.step, self.child, self.sleep,
        ]  # fmt: skip
        if depth:
            shapes += [self.gather, self.group, self.race, self.completed]
        for n in range(chance.randint(1, 3)):
            await chance.choice(shapes)(f"{at}.{n}", chance, depth - 1)

    async def step(self, at: str, _chance: random.Random, _depth: int) -> None:
        await remembered(self.ctx, at)

    async def child(self, at: str, _chance: random.Random, _depth: int) -> None:
        record.answered.add(await leaf.trigger_and_wait(at).unwrap())

    async def sleep(self, _at: str, chance: random.Random, _depth: int) -> None:
        await wait.for_(seconds=chance.choice((0.5, 30)))

    def parts(self, at: str, chance: random.Random, depth: int) -> list[Coroutine[Any, Any, None]]:
        seeds = [chance.random() for _ in range(chance.randint(2, 3))]
        return [self.block(f"{at}.{n}", random.Random(seed), depth) for n, seed in enumerate(seeds)]

    async def gather(self, at: str, chance: random.Random, depth: int) -> None:
        await asyncio.gather(*self.parts(at, chance, depth))

    async def group(self, at: str, chance: random.Random, depth: int) -> None:
        async with asyncio.TaskGroup() as group:
            for part in self.parts(at, chance, depth):
                group.create_task(part)

    async def completed(self, at: str, chance: random.Random, depth: int) -> None:
        for each in asyncio.as_completed(self.parts(at, chance, depth)):
            await each

    async def race(self, at: str, chance: random.Random, depth: int) -> None:
        """Let the losers go, and do something else for each winner."""
        tasks = [asyncio.ensure_future(part) for part in self.parts(at, chance, depth)]
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for n, each in enumerate(tasks):
            if each in done:
                await remembered(self.ctx, f"{at}.won{n}")


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_program_whose_worker_is_killed_ends_as_if_it_was_not(
    testing_server: None, seed: int
) -> None:
    chance = random.Random(seed)
    record.clear()
    async with Platform(tasks=[program, leaf]) as env:
        handles = [await program.trigger(seed) for _ in range(RUNS)]
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0, 0.06))
            await env.kill_worker()
            if chance.random() < 0.5:
                await env.advance(seconds=1)
        results = [await env.result(handle) for handle in handles]
        await env.settle()

        assert [result.error for result in results] == [None] * RUNS
        assert record.repeated == []
        assert {len(values) for values in record.received.values()} <= {1}
        children = [
            json.loads(each.payload or "") for each in env._look(env._probe.triggered("leaf"))
        ]
        assert len(children) == len(set(children))
        assert record.answered <= set(children)
        assert await env._up.engine._audit.environment(env._up.environment.id) == []
