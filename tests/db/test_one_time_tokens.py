"""A one-time token makes one run, however many servers hear it at once."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from engines import Platform, platform
from fake_worker import FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.engine.tokens import Token
from outlast.protocol.triggers import Trigger, Triggered


@pytest.fixture
async def stage(fresh_url: str) -> AsyncIterator[Platform]:
    async with platform(fresh_url) as stage:
        yield stage


async def one_time(engine: Engine, stage: Platform) -> Token:
    text = await engine.tokens.mint(stage.environment, ("trigger:tasks:hello",), one_time=True)
    return await engine.tokens.verify(text)


async def trigger(
    engine: Engine, stage: Platform, token: Token, wanted: Trigger | None = None
) -> Triggered:
    [made] = await engine.trigger(stage.environment, [wanted or Trigger(task="hello")], spend=token)
    return made


async def runs(stage: Platform) -> int:
    [row] = await stage.sql("select count(*) from outlast.run")
    count: int = row["count"]
    return count


async def ready(stage: Platform) -> Engine:
    engine = await stage.server()
    await FakeWorker.open(engine, stage.environment, manifest("hello"))
    return engine


async def test_many_servers_at_once_make_one_run(stage: Platform) -> None:
    """The token is used up in the commit that makes the run."""
    engines = [await ready(stage), await stage.server(), await stage.server()]
    token = await one_time(engines[0], stage)

    answers = await asyncio.gather(
        *(trigger(engine, stage, token) for engine in engines for _ in range(10))
    )

    good = [one for one in answers if one.error is None]
    assert len(good) == 1
    assert {one.error.code for one in answers if one.error is not None} == {"token_used"}
    assert {one.error.status for one in answers if one.error is not None} == {422}
    assert await runs(stage) == 1


async def test_a_request_whose_answer_was_lost_may_come_again(stage: Platform) -> None:
    """The official client repeats a request under its key."""
    engine = await ready(stage)
    token = await one_time(engine, stage)
    wanted = Trigger(task="hello", request_key="request-1")

    first = await trigger(engine, stage, token, wanted)
    again = await trigger(engine, stage, token, wanted)
    other = await trigger(engine, stage, token, Trigger(task="hello", request_key="request-2"))

    assert again.error is None
    assert again.run_id == first.run_id
    assert other.error is not None
    assert await runs(stage) == 1


async def test_a_forgotten_request_is_a_second_use(stage: Platform) -> None:
    """Request keys are pruned before long-lived tokens end."""
    engine = await ready(stage)
    token = await one_time(engine, stage)
    wanted = Trigger(task="hello", request_key="request-1")
    await trigger(engine, stage, token, wanted)
    await stage.sql("delete from outlast.request")

    again = await trigger(engine, stage, token, wanted)

    assert again.error is not None
    assert again.error.code == "token_used"
    assert await runs(stage) == 1


async def test_a_cached_answer_uses_the_token_up_and_may_be_heard_again(stage: Platform) -> None:
    """A run that an idempotency key found counts as the token's one trigger."""
    engine = await ready(stage)
    token = await one_time(engine, stage)
    keyed = Trigger(task="hello", idempotency_key="k", request_key="request-1")
    [held] = await engine.trigger(stage.environment, [Trigger(task="hello", idempotency_key="k")])

    first = await trigger(engine, stage, token, keyed)
    again = await trigger(engine, stage, token, keyed)
    other = await trigger(engine, stage, token, Trigger(task="hello", idempotency_key="k"))

    assert (first.run_id, first.is_cached) == (held.run_id, True)
    assert (again.run_id, again.is_cached) == (held.run_id, True)
    assert other.error is not None


async def test_a_refused_trigger_leaves_the_token_unused(stage: Platform) -> None:
    """What is refused before it reaches the turn costs nothing."""
    engine = await ready(stage)
    token = await one_time(engine, stage)

    refused = await trigger(engine, stage, token, Trigger(task="hello", payload="{", tags=("x",)))
    made = await trigger(engine, stage, token)

    assert refused.error is not None
    assert refused.error.code != "token_used"
    assert made.error is None


async def test_other_triggers_of_the_same_turn_are_not_touched(stage: Platform) -> None:
    """A used token refuses its own trigger alone."""
    engine = await ready(stage)
    token = await one_time(engine, stage)
    await trigger(engine, stage, token)

    late, others = await asyncio.gather(
        trigger(engine, stage, token),
        engine.trigger(stage.environment, [Trigger(task="hello")] * 3),
    )

    assert late.error is not None
    assert [one.error for one in others] == [None, None, None]
    assert await runs(stage) == 4
