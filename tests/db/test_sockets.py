"""Sockets of workers that close, and workers that are back before anybody has missed them."""

import asyncio

import pytest

from engines import Platform
from fake_worker import FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.protocol.frames import Kind
from outlast.protocol.messages import LogLine, Report
from outlast.protocol.triggers import Trigger

LINE = Report(logs=(LogLine(at=0.0, level="INFO", message="hello", scope="", ordinal=1),))


@pytest.mark.parametrize("missed", [False, True])
async def test_a_worker_that_reconnects_with_all_places_taken_is_given_work_again(
    place: Platform, engine: Engine, *, missed: bool
) -> None:
    """Whether or not anybody has noticed by then that its old socket is gone."""
    worker = await FakeWorker.open(engine, place.environment, manifest("job"), shared=1)
    [busy, queued] = await engine.trigger(place.environment, [Trigger(task="job")] * 2)
    run = await worker.claim(busy.run_id)
    if missed:
        await engine.gateway.close("session_a", goodbye=False)

    await worker.connect(engine)
    await worker.beat()
    waiting = worker.claims_waiting
    run.complete()
    following = await worker.claim(queued.run_id)

    assert waiting == 0
    following.complete()
    assert await engine.ends.wait(place.environment.id, queued.run_id, 5)


async def test_a_socket_that_closed_is_noted_before_all_it_said_is_applied(
    place: Platform, engine: Engine
) -> None:
    """What a dead worker said may wait for the database; its runs do not wait for that."""
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    run = await worker.claim(made.run_id)
    async with place.locked("log"):
        run.send(Kind.REPORT, LINE)
        closing = asyncio.create_task(engine.gateway.close("session_a", goodbye=False))
        while not await place.sql("select from outlast.session where closed_at is not null"):
            assert not closing.done()
            await asyncio.sleep(0.01)
        assert not closing.done()
    await closing


async def test_a_worker_that_is_back_before_its_old_socket_is_settled_lives(
    place: Platform, engine: Engine
) -> None:
    worker = await FakeWorker.open(engine, place.environment, manifest("job"))
    [made] = await engine.trigger(place.environment, [Trigger(task="job")])
    run = await worker.claim(made.run_id)
    async with place.locked("log"):
        run.send(Kind.REPORT, LINE)
        closing = asyncio.create_task(engine.gateway.close("session_a", goodbye=False))
        await asyncio.sleep(0)
        await worker.connect(engine)
    await closing

    assert await place.sql("select from outlast.session where closed_at is not null") == []
    assert (await run.step("step:a#0", "1")).value == "1"
