"""A batch in a browser: still empty, then with its runs."""

import json

from scene import Stage


async def test_no_batch_says_how_to_make_one(stage: Stage) -> None:
    await stage.open("batches")

    await stage.browser.sees("No batches yet")
    await stage.browser.assert_clean()


async def test_a_batch_fills_while_one_looks(stage: Stage) -> None:
    client = stage.api.client
    made = (await client.post("/api/v3/batches", json={"runCount": 2})).json()["id"]
    await stage.open(f"batches/{made}")
    await stage.browser.sees("No run yet", "#live_batch")
    await stage.browser.assert_clean()

    lines = "".join(json.dumps({"index": n, "task": "hello"}) + "\n" for n in range(2))
    sent = await client.post(
        f"/api/v3/batches/{made}/items",
        content=lines,
        headers={"content-type": "application/x-ndjson"},
    )
    assert sent.status_code == 200, sent.text

    await stage.browser.sees("2 of 2", "#live_batch")
    await stage.browser.sees("hello", "#live_batch table")
    await stage.browser.assert_clean()
    await stage.open("batches")
    await stage.browser.sees(made, "#live_batches")
    await stage.browser.call("click", "#live_batches a.id")
    await stage.browser.call("click", "text=All its runs")
    await stage.browser.sees("hello", "#live_runs")
