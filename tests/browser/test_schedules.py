"""Schedules in a browser: made, changed, switched and deleted by forms; declared ones only read."""

from msgspec.structs import replace

from fake_worker import FakeWorker, manifest
from outlast.protocol.manifests import ScheduleManifest
from outlast.protocol.schedules import ScheduledPayload
from scene import Stage


async def test_no_schedule_says_how_to_get_one(stage: Stage) -> None:
    await stage.open("schedules")

    await stage.browser.sees("No schedules yet")
    await stage.browser.sees("@schedules.task", ".empty")
    await stage.browser.assert_clean()


async def test_a_schedule_is_made_changed_switched_and_deleted(stage: Stage) -> None:
    await stage.open("schedules")
    await stage.browser.press("n")
    await stage.browser.sees("New schedule", "h1")
    await stage.browser.assert_clean()
    await stage.browser.call("fill", "input[name=task]", "hello")
    await stage.browser.call("fill", "input[name=cron]", "every morning")
    await stage.browser.call("fill", "input[name=timezone]", "Europe/Berlin")
    await stage.browser.call("fill", "input[name=deduplication_key]", "org_1")
    await stage.browser.call("click", "form.replay .primary")
    await stage.browser.sees("every morning", "[role=alert]")
    [refused] = await stage.browser.call("errors")
    assert "422" in refused

    await stage.browser.call("fill", "input[name=cron]", "0 9 * * 1-5")
    await stage.browser.call("click", "form.replay .primary")
    await stage.browser.sees("At 09:00 on Monday through Friday", ".facts")
    await stage.browser.sees("09:00 CE", ".facts")
    await stage.browser.assert_clean()
    await stage.browser.call("fill", "input[name=cron]", "0 17 * * *")
    await stage.browser.call("click", "form.replay .primary")
    await stage.browser.sees("17:00 CE", ".facts")

    await stage.open("schedules")
    await stage.browser.sees("Europe/Berlin", "#live_schedules")
    await stage.browser.assert_clean()
    await stage.browser.call("click", "button[aria-label='Turn off hello']")
    await stage.browser.sees("the schedule is off")
    await stage.browser.call("click", "#live_schedules a:text('hello')")
    await stage.browser.call("click", "text=Delete")

    await stage.browser.sees("No schedules yet")


async def test_a_declared_schedule_is_only_read(stage: Stage) -> None:
    daily = ScheduleManifest("0 9 * * *", "Europe/Berlin")
    offered = manifest("hello", digest="digest-2")
    [task] = offered.tasks
    offered = replace(offered, tasks=(replace(task, schedule=daily),))
    api = stage.api
    await FakeWorker.open(api.engine, api.platform.environment, offered, session="session_b")

    await stage.open("schedules")
    await stage.browser.sees("declared", "#live_schedules")
    await stage.browser.call("click", "#live_schedules a:text('hello')")

    await stage.browser.sees("The code declares this schedule")
    assert "Delete" not in await stage.browser.call("text", "main")
    await stage.browser.assert_clean()


async def test_a_schedule_is_tried_with_what_a_tick_brings(stage: Stage) -> None:
    plan = {"task": "hello", "cron": "0 9 * * *", "deduplicationKey": "k", "externalId": "org_1"}
    made = (await stage.api.client.post("/api/v1/schedules", json=plan)).json()["id"]
    await stage.open(f"schedules/{made}")

    await stage.browser.press("t")

    await stage.browser.sees("Test hello", "h1")
    typed = await stage.browser.call("inputValue", "textarea[name=payload]")
    tick = ScheduledPayload.model_validate_json(typed)
    assert (tick.schedule_id, tick.external_id, tick.type) == (made, "org_1", "IMPERATIVE")
    await stage.browser.call("click", "text=Run it")
    await stage.browser.sees("hello is queued")
