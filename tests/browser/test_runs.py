"""The list of runs in a browser: empty, filled, live, filtered, and acted on in bulk."""

from scene import Stage


async def test_a_run_appears_and_completes_without_a_reload(stage: Stage) -> None:
    await stage.open("runs")
    await stage.browser.sees("No runs yet")
    await stage.browser.assert_clean()
    await stage.browser.call("evaluate", "window.stayed = true")

    run = await stage.api.trigger(payload={"n": 1}, options={"tags": ["org_1"]})
    await stage.browser.sees("queued", "#live_runs")
    claim = await stage.api.worker.claim(run)
    await stage.browser.sees("dequeued", "#live_runs")
    claim.complete('{"total": 42}')

    await stage.browser.sees("completed", "#live_runs")
    assert await stage.browser.call("evaluate", "window.stayed") is True
    await stage.browser.assert_clean()


async def test_checked_runs_are_canceled(stage: Stage) -> None:
    runs = [await stage.api.trigger(options={"delay": "1h"}) for _ in range(3)]
    await stage.open("runs")

    await stage.browser.press("j", "x", "j", "x")
    await stage.browser.sees("2 selected")
    await stage.browser.call("click", "button[value=cancel]")

    await stage.browser.sees("canceling 2 runs")
    for run in runs[1:]:
        await stage.api.ended(run)
    left = await stage.api.client.get("/api/v1/runs?filter[status]=DELAYED")
    assert [run["id"] for run in left.json()["data"]] == runs[:1]


async def test_every_filter_stands_in_the_address(stage: Stage) -> None:
    wanted = await stage.api.trigger(options={"tags": ["org_1"]})
    other = await stage.api.trigger(options={"tags": ["org_2"]})
    await stage.open("runs")

    await stage.browser.call("fill", "input[name=tag]", "org_1")
    await stage.browser.call("click", ".filters button")

    await stage.browser.sees(wanted[-8:], "#live_runs")
    await stage.browser.sees_no(other[-8:], "#live_runs")
    assert "tag=org_1" in await stage.browser.call("evaluate", "location.search")
    await stage.browser.assert_clean()


async def test_keys_lead_everywhere(stage: Stage) -> None:
    run = await stage.api.trigger(options={"tags": ["org_1"]})
    await stage.open(f"runs/{run}")

    await stage.browser.press("?")
    await stage.browser.sees("search by id", "dialog[open]")
    await stage.browser.assert_clean()
    await stage.browser.press("Escape", "g", "r")
    await stage.browser.sees("More filters")
    await stage.browser.call("waitForLoadState", "load")  # its script hears keys by then
    await stage.browser.press("j", "Enter")
    await stage.browser.sees("Timeline")
    await stage.browser.press("/")
    await stage.browser.call("fill", "#search", "org_1")
    await stage.browser.press("Enter")
    await stage.browser.sees(run[-8:], "#live_runs")

    assert "tag=org_1" in await stage.browser.call("evaluate", "location.search")


async def test_the_theme_can_be_chosen_and_is_kept(stage: Stage) -> None:
    await stage.browser.call("emulate", {"colorScheme": "light"})
    await stage.open("runs")
    await stage.browser.press("d")
    await stage.open("runs")

    scheme = "getComputedStyle(document.documentElement).colorScheme"
    assert await stage.browser.call("evaluate", scheme) == "dark"
    await stage.browser.assert_clean()


async def test_a_phone_has_all_of_it(stage: Stage) -> None:
    await stage.api.trigger(options={"tags": ["org_1"]})
    await stage.browser.call("resize", 390, 844)
    await stage.open("runs")

    wide = "document.documentElement.scrollWidth > innerWidth"
    assert await stage.browser.call("evaluate", wide) is False
    await stage.browser.call("click", ".menu-button")
    await stage.browser.sees("Schedules", "#menu")
    await stage.browser.assert_clean()
