"""Tasks in a browser: the list, one with its contract, and a run made of a form."""

import json

from msgspec.structs import replace

from fake_worker import FakeWorker, manifest
from scene import Stage

SCHEMA = {
    "type": "object",
    "required": ["org", "count"],
    "properties": {
        "org": {"type": "string", "description": "whose invoices"},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "format": {"enum": ["csv", "json"], "default": "csv"},
        "notes": {"type": "array", "items": {"type": "string"}, "default": []},
    },
}


async def with_contract(stage: Stage) -> FakeWorker:
    """Let a worker offer a task with a payload schema."""
    offered = manifest("export", "hello", digest="digest-2")
    tasks = (replace(offered.tasks[0], payload_schema=json.dumps(SCHEMA)), *offered.tasks[1:])
    api = stage.api
    return await FakeWorker.open(
        api.engine, api.platform.environment, replace(offered, tasks=tasks), session="session_b"
    )


async def test_an_environment_without_tasks_says_how_to_begin(stage: Stage) -> None:
    await stage.browser.open(stage.base.replace("/dev/", "/prod/"))

    await stage.browser.sees("No tasks yet")
    await stage.browser.sees("outlast dev", ".empty")
    await stage.browser.assert_clean()


async def test_a_task_shows_what_it_did_without_a_reload(stage: Stage) -> None:
    await stage.open("tasks")
    await stage.browser.sees("a/b c", "#live_tasks")
    run = await stage.api.trigger()
    claim = await stage.api.worker.claim(run)
    row = "tr[data-id=hello]"
    await stage.browser.sees("1", f"{row} td:nth-child(2)")
    claim.complete()
    await stage.api.ended(run)
    await stage.api.engine.activity.flush()

    await stage.browser.sees("1", f"{row} td:nth-child(5)")
    await stage.browser.assert_clean()
    await stage.browser.call("fill", "input[name=search]", "hel")
    await stage.browser.call("click", ".filters button")
    await stage.browser.sees("Clear", ".filters")
    await stage.browser.sees_no("a/b c", "#live_tasks")
    await stage.browser.press("j", "Enter")
    await stage.browser.sees("Trigger it")
    await stage.browser.sees(run[-8:], "#live_runs")
    await stage.browser.assert_clean()


async def test_a_task_of_any_name_has_a_page(stage: Stage) -> None:
    await stage.open("tasks")

    await stage.browser.call("click", "#live_tasks a:text('a/b c')")

    await stage.browser.sees("a/b c", "h1")
    await stage.browser.press("t")
    await stage.browser.sees("Test a/b c", "h1")


async def test_the_payload_is_a_contract_and_a_form(stage: Stage) -> None:
    worker = await with_contract(stage)
    await stage.open("tasks/export")
    await stage.browser.sees("whole number, 1 to 9", ".contract")
    await stage.browser.sees("whose invoices", ".contract")
    await stage.browser.assert_clean()

    await stage.browser.press("t")
    await stage.browser.sees("Test export", "h1")
    await stage.browser.assert_clean()
    await stage.browser.call("fill", "input[name=field-0]", "acme")
    await stage.browser.call("fill", "input[name=field-1]", "12")
    await stage.browser.call("selectOption", "select[name=field-2]", '"json"')
    await stage.browser.call("fill", "textarea[name=field-3]", '["a"]')
    await stage.browser.call("click", "summary:text('Options')")
    await stage.browser.call("fill", "input[name=tags]", "org_acme, try")
    await stage.browser.call("fill", "input[name=idempotency_key]", "once")
    await stage.browser.call("click", "form .primary")
    await stage.browser.sees("count", "[role=alert]")
    [refused] = await stage.browser.call("errors")
    assert "422" in refused
    await stage.browser.call("fill", "input[name=field-1]", "3")
    await stage.browser.call("click", "form .primary")

    await stage.browser.sees("export is queued")
    await stage.browser.assert_clean()
    claim = await worker.claim()
    detail = (await stage.api.client.get(f"/api/v3/runs/{claim.run}")).json()
    assert detail["payload"] == {"org": "acme", "count": 3, "format": "json", "notes": ["a"]}
    assert (detail["tags"], detail["isTest"]) == (["org_acme", "try"], True)


async def test_a_payload_is_written_as_json_or_taken_from_a_run(stage: Stage) -> None:
    await stage.api.trigger(payload={"n": 41})
    await stage.open("test/hello")
    await stage.browser.call("fill", "textarea[name=payload]", '{"n": ')
    await stage.browser.call("click", "form .primary")
    await stage.browser.sees("the payload is not JSON", "[role=alert]")
    await stage.browser.call("errors")

    await stage.browser.call("click", ".recent a")
    await stage.browser.call("click", "form .primary")

    await stage.browser.sees("hello is queued")
    listed = (await stage.api.client.get("/api/v1/runs?filter[isTest]=true")).json()["data"]
    detail = await stage.api.client.get(f"/api/v3/runs/{listed[0]['id']}")
    assert detail.json()["payload"] == {"n": 41}
