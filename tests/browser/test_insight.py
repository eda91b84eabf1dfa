"""Errors and usage in a browser: what fails as one, and what does more than usual."""

from scene import Stage

WEEKS = """
insert into outlast.task_activity
  (environment_id, span, start, task, completed, failed, canceled, attempts, keyless, seconds)
select $1, 'day', date_trunc('week', now(), 'UTC') - week * interval '7 days', 'hello',
  case week when 0 then 900 else 100 end, 0, 0, 100, case week when 0 then 880 else 5 end, 60
from generate_series(0, 3) week
"""


async def fails(stage: Stage, message: str) -> str:
    """Let a run fail, and count it."""
    run = await stage.api.trigger()
    (await stage.api.worker.claim(run)).fail(message)
    await stage.api.ended(run)
    await stage.api.engine.activity.flush()
    return run


async def test_nothing_fails_at_first(stage: Stage) -> None:
    await stage.open("errors")

    await stage.browser.sees("Nothing fails")
    await stage.browser.assert_clean()


async def test_an_error_is_resolved_and_comes_back(stage: Stage) -> None:
    await stage.open("errors")
    await fails(stage, "no row 1")
    run = await fails(stage, "no row 22")
    await stage.browser.sees("no row 22", "#live_errors")
    await stage.browser.sees("2", "#live_errors tbody td:nth-child(4)")
    await stage.browser.assert_clean()
    await stage.browser.call("click", "button[aria-label='Resolve ValueError of hello']")
    await stage.browser.sees("resolved, until it happens again")
    await stage.browser.sees("Nothing fails")

    await fails(stage, "no row 333")

    await stage.browser.sees("no row 333", "#live_errors")
    await stage.browser.call("click", "#live_errors td a")
    await stage.browser.sees(run[-8:], "#live_error")
    await stage.browser.assert_clean()
    await stage.browser.call("click", "text=Replay its runs")
    await stage.browser.sees("replaying the runs that failed")


async def test_an_ignored_error_is_out_of_sight(stage: Stage) -> None:
    await fails(stage, "boom")
    await stage.open("errors")
    await stage.browser.call("click", "#live_errors td a")
    await stage.browser.call("click", "button:text('Ignore')")
    await stage.browser.sees("ignored, however often")
    await stage.open("errors?status=ignored")

    await stage.browser.sees("boom", "#live_errors")
    await stage.browser.assert_clean()


async def test_usage_names_the_task_that_does_far_more_than_usual(stage: Stage) -> None:
    await stage.open("usage")
    await stage.browser.sees("Nothing has ended yet")
    await stage.browser.assert_clean()
    await stage.api.platform.sql(WEEKS, stage.api.platform.environment.id)

    await stage.open("usage")

    await stage.browser.sees("times its usual runs this week", ".notice")
    await stage.browser.sees("98 % without an idempotency key", ".notice")
    await stage.browser.sees("spike", "[aria-label='Tasks by week'] tbody")
    await stage.browser.assert_clean()
