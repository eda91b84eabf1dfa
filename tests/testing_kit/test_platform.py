"""A whole platform in a test: time that passes when told, workers that die, runs that end."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from kit_tasks import (
    TASKS,
    Decision,
    Post,
    attentive,
    busy,
    endless,
    fails,
    flaky,
    follow,
    mail,
    nightly,
    orders,
    plain,
    publish,
    timely,
    unwound,
    written,
)
from outlast import RunFailed, runs, schedules, wait
from outlast.protocol.statuses import Status
from outlast.testing import NeverEndsError, NeverStillError, Platform, replay, stillness
from polling import until


async def test_a_seven_day_approval_ends_in_silence(env: Platform) -> None:
    """Every reminder goes out on its day, and none before."""
    run = await publish.trigger(Post(title="on time"))
    begin = env.now

    for day in range(7):
        await env.until_waiting(run)
        env.assert_triggered(mail, count=day + 1, payload="decide about on time")
        await env.advance(days=1)

    result = await env.result(run)
    assert result.output == "forgotten"
    assert env.now - begin == timedelta(days=7)


async def test_a_human_decides_after_the_worker_was_killed(env: Platform) -> None:
    """Nothing unwinds at the kill, and the finished step is not done again."""
    run = await publish.trigger(Post(title="x"))
    await env.until_waiting(run)
    await env.advance("3d12h")

    await env.kill_worker()
    assert unwound.count == 0
    await wait.complete_token(env.metadata(run)["token"], Decision(approved=True))

    assert (await env.result(run)).output == "published"
    assert (written, unwound.count) == (["x"], 1)
    env.assert_triggered(mail, count=4)


async def test_a_run_that_begins_again_goes_on_after_its_worker_was_killed(env: Platform) -> None:
    """Each generation does its step once, and a replay knows the journal of its own."""
    run = await follow.trigger(1)
    for _ in range(2):
        await env.until_waiting(run)
        await env.kill_worker()
        await env.advance(days=1)
    await env.until_waiting(run)

    assert (await replay(env.journal(run), against=follow)).waits_for
    await env.advance(days=1)

    assert (await env.result(run)).output == "3 generations"
    assert written == ["page 1", "page 2", "page 3"]


async def test_a_run_that_is_killed_in_the_middle_of_its_code_begins_again(env: Platform) -> None:
    """It waits for nothing, so there is nothing to suspend: it is rescued all the same."""
    run = await busy.trigger()
    await until(lambda: env.status(run) is Status.EXECUTING)

    await env.kill_worker()
    written.append("told")

    assert (await env.result(run)).output == "told"


async def test_a_generator_of_a_killed_run_unwinds_neither_then_nor_when_the_loop_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Messages that were received stay received; the loop closes what is its own only."""

    async def kill() -> list[str]:
        mine = beside()
        assert await anext(mine) == 1
        async with Platform(tasks=TASKS) as env:
            run = await attentive.trigger()
            await env.until_waiting(run)
            await orders.send(run.id, "dance")
            await env.settle()
            await env.kill_worker()
            await orders.send(run.id, "stop")
            done = (await env.result(run)).output
            left = await attentive.trigger()
            await env.until_waiting(left)
        return done

    closed: list[int] = []

    async def beside() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.append(1)

    assert await asyncio.to_thread(asyncio.run, kill()) == ["dance"]
    assert unwound.count == 1
    assert closed == [1]
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def test_time_passes_for_retries_and_for_threads(env: Platform) -> None:
    begin = env.now
    assert (await env.run(flaky)).output == 3
    assert env.now - begin >= timedelta(seconds=120)

    handle = await plain.trigger(4)
    await env.until_waiting(handle)
    await env.kill_worker()
    assert (await env.result(handle)).output == 4
    assert env.now - begin >= timedelta(days=1)


async def test_a_task_sees_the_time_of_the_test() -> None:
    """Short waits keep their slot, and take their time like long ones."""
    start = datetime(2031, 5, 1, tzinfo=UTC)

    async with Platform(tasks=[timely], start=start) as env:
        result = await env.run(timely)

    moments = [start + timedelta(seconds=seconds) for seconds in (0, 3, 3603)]
    assert result.output == moments


async def test_schedules_fire_as_time_passes_each_at_its_moment() -> None:
    start = datetime(2031, 5, 1, 12, tzinfo=UTC)
    async with Platform(tasks=[nightly, mail], start=start) as env:
        await env.advance(days=3)
        assert [datetime.fromisoformat(text) for text in written] == [
            datetime(2031, 5, day, 3, tzinfo=UTC) for day in (2, 3, 4)
        ]
        env.assert_triggered(nightly, count=3)

        made = await schedules.create(nightly, cron="30 12 * * *", deduplication_key="lunch")
        await env.advance("1h")
        assert datetime.fromisoformat(written[-1]).hour == 12
        assert (await schedules.retrieve(made.id)).active


async def test_a_delayed_run_starts_when_its_time_has_come(env: Platform) -> None:
    run = await mail.trigger("later", delay="2d")

    await env.advance(days=1)
    assert env.status(run) is Status.DELAYED
    await env.advance(days=1)
    assert env.status(run) is Status.COMPLETED


async def test_a_failure_is_a_value(env: Platform) -> None:
    result = await env.run(fails)

    assert isinstance(result.error, RunFailed)
    assert "no luck" in str(result.error)


async def test_what_nothing_brings_is_said(env: Platform) -> None:
    """A run that waits for a person, one that has ended, one that never rests."""
    run = await endless.trigger()
    with pytest.raises(NeverEndsError, match="kit-endless waits for"):
        await env.result(run)

    handle = await mail.trigger("x")
    with pytest.raises(AssertionError, match="has ended as completed"):
        await env.until_waiting(handle)


async def test_a_run_that_never_rests_is_named_with_its_line(
    env: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stillness, "PATIENCE", 0.05)
    await busy.trigger()

    with pytest.raises(NeverStillError, match=r"kit-busy\) at .*kit_tasks.py:\d+"):
        await env.settle()
    written.append("enough")


async def test_what_runs_say_and_store_can_be_looked_at(
    capsys: pytest.CaptureFixture[str], env: Platform
) -> None:
    run = await publish.trigger(Post(title="x"))
    await env.until_waiting(run)
    first = await mail.trigger("a word", tags=["greeting"])
    await env.settle()

    assert env.logs(run) == ["waits for an editor"]
    assert env.logs(first) == ["sent a word"]
    assert "sent a word" in capsys.readouterr().out
    assert env.tags(first) == ("greeting",)
    assert env.metadata(run)["token"].startswith("waitpoint_")
    assert [line.split("#")[0] for line in env.journal(run).lines()][:2] == [
        "step:write",
        "waitpoint:token",
    ]


async def test_assertions_about_triggers_say_what_there_was(env: Platform) -> None:
    await mail.trigger("one", tags=["a", "b"])

    env.assert_triggered(mail)
    env.assert_triggered("kit-mail", count=1, payload="one", tags="a")
    env.assert_not_triggered(mail, payload="two")
    env.assert_not_triggered(publish)
    with pytest.raises(AssertionError, match=r'triggered 0 times with the payload .two.*\n.*"one"'):
        env.assert_triggered(mail, payload="two")
    with pytest.raises(AssertionError, match="triggered 1 times, not 0"):
        env.assert_not_triggered(mail)
    with pytest.raises(AssertionError, match="not at least once"):
        env.assert_triggered(mail, tags="c")


async def test_the_process_is_left_as_it_was() -> None:
    """Environment, streams, logging and the loop's tasks; the next platform is empty."""
    loop = asyncio.get_running_loop()

    def outside() -> tuple[object, ...]:
        return (
            os.environ.get("OUTLAST_API_URL"),
            os.environ.get("OUTLAST_SECRET_KEY"),
            sys.stdout,
            sys.stderr,
            logging.Logger.callHandlers,
            asyncio.as_completed,
            loop.get_task_factory(),
        )

    before = outside()
    async with Platform(tasks=[mail]) as env:
        assert outside() != before
        with pytest.raises(RuntimeError, match="a platform is open on this event loop"):
            async with Platform(tasks=[mail]):
                pass
        await mail.trigger("x")
    assert outside() == before

    async with Platform(tasks=[mail]) as env:
        env.assert_not_triggered(mail)
        assert [run async for run in runs.list()] == []


async def test_time_does_not_go_back(env: Platform) -> None:
    with pytest.raises(ValueError, match="does not go back"):
        await env.advance(days=-1)
    with pytest.raises(ValueError, match="no time zone"):
        Platform(start=datetime(2031, 1, 1))  # noqa: DTZ001 - the mistake
