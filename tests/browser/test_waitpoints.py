"""Waitpoints in a browser: found by status, and completed with JSON."""

from scene import Stage


async def test_no_waitpoint_says_how_to_get_one(stage: Stage) -> None:
    await stage.open("waitpoints")

    await stage.browser.sees("No waitpoints yet")
    await stage.browser.assert_clean()


async def test_a_waitpoint_is_found_by_status_and_completed(stage: Stage) -> None:
    await stage.open("waitpoints")
    body = {"timeout": "1h", "tags": ["approval"]}
    made = (await stage.api.client.post("/api/v1/waitpoints/tokens", json=body)).json()["id"]
    await stage.browser.sees(made, "#live_waitpoints")
    await stage.browser.call("selectOption", "select[name=status]", "WAITING")
    await stage.browser.call("click", ".filters button")
    await stage.browser.sees("Clear", ".filters")
    await stage.browser.sees("approval", "#live_waitpoints")
    await stage.browser.assert_clean()
    await stage.browser.call("click", "#live_waitpoints a.id")

    await stage.browser.call("fill", "textarea[name=data]", '{"approved": ')
    await stage.browser.call("click", ".token .primary")
    await stage.browser.sees("the value is not JSON", "[role=alert]")
    [refused] = await stage.browser.call("errors")
    assert "422" in refused
    await stage.browser.call("fill", "textarea[name=data]", '{"approved": true}')
    await stage.browser.call("click", ".token .primary")

    await stage.browser.sees('{"approved": true}', "#live_token")
    await stage.browser.assert_clean()
    found = await stage.api.client.get(f"/api/v1/waitpoints/tokens/{made}")
    assert found.json()["status"] == "COMPLETED"
    await stage.open("waitpoints?status=WAITING")
    await stage.browser.sees("No waitpoint fits")
