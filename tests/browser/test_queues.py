"""Queues in a browser: none, some, deep ones, and what is done with them."""

from scene import Stage


async def test_no_queue_says_how_to_get_one(stage: Stage) -> None:
    await stage.api.platform.sql("delete from outlast.queue")

    await stage.open("queues")

    await stage.browser.sees("No queues yet")
    await stage.browser.assert_clean()


async def test_a_queue_is_followed_paused_and_limited(stage: Stage) -> None:
    await stage.open("queues")
    await stage.browser.sees("hello", "#live_queues")
    await stage.browser.call("click", "button[aria-label='Pause hello']")
    await stage.browser.sees("hello is paused")
    await stage.api.trigger(options={"concurrencyKey": "org_1"})
    await stage.browser.call("hover", "h1")
    await stage.browser.sees("1", "tr:has([aria-label='Resume hello']) td:nth-child(4)")
    await stage.browser.assert_clean()

    await stage.browser.call("click", "#live_queues a:text('hello')")
    await stage.browser.sees("paused", "#live_state")
    await stage.browser.call("fill", "input[name=limit]", "3")
    await stage.browser.call("click", "text=Override")
    await stage.browser.sees("override of none", "#live_numbers")
    await stage.browser.assert_clean()
    await stage.browser.call("click", "text=Reset to none")
    await stage.browser.sees("the declared limit of hello counts again")
    await stage.browser.call("click", "text=Concurrency keys")
    await stage.browser.sees("org_1", "#live_tab")
    await stage.browser.assert_clean()

    await stage.browser.press("p")
    await stage.browser.sees("hello goes on")
    await stage.api.worker.claim()


async def test_the_delay_is_drawn_with_its_numbers_in_a_table(stage: Stage) -> None:
    run = await stage.api.trigger()
    (await stage.api.worker.claim(run)).complete()
    await stage.api.ended(run)
    await stage.open("queues")
    await stage.browser.call("click", "#live_queues a:text('hello')")

    await stage.browser.sees("Delay until a run starts", "#live_tab")
    rows = "document.querySelectorAll('#live_tab section:first-of-type tbody tr').length"
    assert await stage.browser.call("evaluate", rows) == 60
    await stage.browser.assert_clean()
