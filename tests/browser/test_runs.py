"""The list of runs in a browser: empty, filled, live, filtered, and acted on in bulk."""

from scene import Stage


async def test_a_run_appears_and_completes_without_a_reload(stage: Stage) -> None:
    await stage.open("runs")
    await stage.browser.sees("No runs yet")
    await stage.browser.call("evaluate", "window.stayed = true")

    run = await stage.api.trigger(payload={"n": 1}, options={"tags": ["org_1"]})
    claim = await stage.api.worker.claim(run)
    await stage.browser.sees("dequeued", "#live_runs")
    claim.complete('{"total": 42}')

    await stage.browser.sees("completed", "#live_runs")
    assert await stage.browser.call("evaluate", "window.stayed") is True
    await stage.browser.assert_clean()
