"""The page of a run in a browser: live, with everything it did, and what is done with it."""

from outlast.protocol import messages
from outlast.protocol.frames import Kind
from scene import Stage


async def test_a_run_is_followed_to_its_end(stage: Stage) -> None:
    run = await stage.api.trigger(payload={"n": 1})
    await stage.open(f"runs/{run}")
    await stage.browser.sees("queued", "#live_status")

    claim = await stage.api.worker.claim(run)
    await claim.step("read", '{"rows": 3}')
    await stage.browser.sees("read", "#live_timeline")
    claim.complete('{"total": 42}')

    await stage.browser.sees("completed", "#live_status")
    await stage.browser.sees('"total": 42', "#live_output")
    await stage.browser.assert_clean()


async def test_a_failed_run_says_why(stage: Stage) -> None:
    run = await stage.api.trigger()
    (await stage.api.worker.claim(run)).fail("<b>the mail server</b> did not answer")
    await stage.api.ended(run)

    await stage.open(f"runs/{run}")

    await stage.browser.sees("<b>the mail server</b> did not answer", ".failure")
    await stage.browser.assert_clean()


async def test_an_ended_run_is_deleted_from_its_page(stage: Stage) -> None:
    run = await stage.api.trigger()
    (await stage.api.worker.claim(run)).complete()
    await stage.api.ended(run)
    await stage.open(f"runs/{run}")

    await stage.browser.call("click", "button:text-is('Delete')")

    await stage.browser.sees(f"{run} is deleted")
    assert (await stage.api.client.get(f"/api/v3/runs/{run}")).status_code == 404


async def test_failed_attempts_and_replays_and_what_the_task_sees_stand_on_the_page(
    stage: Stage,
) -> None:
    run = await stage.api.trigger(payload={"n": 1}, options={"machine": "small-1x"})
    (await stage.api.worker.claim(run)).fail("the first time", retry_in=0.05)
    (await stage.api.worker.claim(run)).complete()
    await stage.api.ended(run)
    made = (await stage.api.client.post(f"/api/v1/runs/{run}/replay")).json()["id"]

    await stage.open(f"runs/{run}")
    await stage.browser.sees("the first time", ".attempt")
    await stage.browser.call("click", ".attempt summary")
    await stage.browser.call("click", ".context summary")
    await stage.browser.sees('"slug": "dev"', ".context")
    await stage.browser.sees(made[-8:], "#live_children")
    await stage.browser.assert_clean()
    await stage.browser.call("click", "#live_children a.id")

    await stage.browser.sees(f"This run is a replay of {run}", "#live_children")


async def test_a_delayed_run_is_given_another_moment(stage: Stage) -> None:
    run = await stage.api.trigger(options={"delay": "30d"})
    await stage.open(f"runs/{run}")

    await stage.browser.call("fill", "input[name=delay]", "soon")
    await stage.browser.call("click", "#live_standing button")
    await stage.browser.sees("delay", ".said.bad")
    await stage.browser.call("fill", "input[name=delay]", "5m")
    await stage.browser.call("click", "#live_standing button")

    await stage.browser.sees("the run starts 5m from now")
    await stage.browser.sees("in 4 min", "#live_facts")
    await stage.browser.assert_clean()


async def test_a_run_is_canceled_by_its_key(stage: Stage) -> None:
    run = await stage.api.trigger(options={"delay": "1h"})
    await stage.open(f"runs/{run}")
    await stage.browser.sees("is delayed until", "#live_standing")

    await stage.browser.press("c")

    await stage.browser.sees("canceled", "#live_status")
    await stage.api.ended(run)


async def test_a_run_is_replayed_with_an_edited_payload(stage: Stage) -> None:
    run = await stage.api.trigger(payload={"n": 1})
    (await stage.api.worker.claim(run)).complete()
    await stage.api.ended(run)
    await stage.open(f"runs/{run}")

    await stage.browser.press("r")
    await stage.browser.sees("Replay hello", "h1")
    await stage.browser.assert_clean()
    await stage.browser.call("fill", "textarea[name=payload]", '{"n": ')
    await stage.browser.call("click", ".replay .primary")
    await stage.browser.sees("the payload is not JSON")
    await stage.browser.call("fill", "textarea[name=payload]", '{"n": 2}')
    await stage.browser.call("click", ".replay .primary")

    await stage.browser.sees(f"a replay of {run}")
    made = (await stage.api.client.get("/api/v1/runs")).json()["data"][0]["id"]
    assert made != run
    detail = await stage.api.client.get(f"/api/v3/runs/{made}")
    assert detail.json()["payload"] == {"n": 2}


async def test_a_token_is_completed_where_the_run_waits_for_it(stage: Stage) -> None:
    made = await stage.api.client.post("/api/v1/waitpoints/tokens", json={"timeout": "1h"})
    token = made.json()["id"]
    run = await stage.api.trigger()
    claim = await stage.api.worker.claim(run)
    body = messages.Call(f"/token:{token}#0", "token", token, target=token)
    await claim.ack(claim.send(Kind.CALL, body), messages.Called)
    await stage.open(f"runs/{run}")

    await stage.browser.call("fill", "textarea[name=data]", '{"approved": true}')
    await stage.browser.call("click", ".token .primary")

    await stage.browser.sees(f"{token} is completed")
    found = await stage.api.client.get(f"/api/v1/waitpoints/tokens/{token}")
    assert found.json()["status"] == "COMPLETED"
    assert found.json()["output"] == '{"approved": true}'


async def test_thousands_of_spans_are_one_page(stage: Stage) -> None:
    run = await stage.api.trigger()
    await stage.api.worker.claim(run)
    await stage.api.platform.sql(
        """insert into outlast.entry
             (run_id, key, kind, name, attempt, number, outcome, created_at, finished_at)
           select $1, '/step:page#' || n, 'step', 'page ' || n, 1, n, '{"ok":true,"value":"1"}',
             clock_timestamp(), clock_timestamp() + n * interval '1 ms'
           from generate_series(1, 5000) n""",
        run,
    )

    await stage.open(f"runs/{run}")

    rows = "document.querySelectorAll('#live_timeline li').length"
    assert await stage.browser.call("evaluate", rows) == 5002
    # only what is in view is laid out and painted, so that scrolling is smooth
    painted = (
        "[...document.querySelectorAll('#live_timeline li')].filter((row) =>"
        " row.firstElementChild.checkVisibility({contentVisibilityAuto: true})).length"
    )
    assert await stage.browser.call("evaluate", painted) < 300
    await stage.browser.call("hover", "#live_timeline")
    await stage.browser.call("wheel", 0, 100_000)
    await stage.browser.becomes("document.querySelector('#live_timeline').scrollTop > 90000")
    assert await stage.browser.call("evaluate", painted) < 300
    await stage.browser.call("fill", "[data-scrub]", "0")
    dim = "document.querySelectorAll('#live_timeline li.later').length > 0"
    assert await stage.browser.call("evaluate", dim) is True
    assert await stage.browser.call("errors") == []


async def test_only_the_part_of_a_long_timeline_changes_where_something_happened(
    stage: Stage,
) -> None:
    run = await stage.api.trigger()
    claim = await stage.api.worker.claim(run)
    sql = stage.api.platform.sql
    began = "clock_timestamp() - interval '90 s'"  # its axis grows at 87 and 108 s
    await sql(f"update outlast.run set created_at = {began} where id = $1", run)
    await sql(
        f"""insert into outlast.entry
             (run_id, key, kind, name, attempt, number, outcome, created_at, finished_at)
           select $1, '/step:page#' || n, 'step', 'page ' || n, 1, n, '{{"ok":true,"value":"1"}}',
             {began} + n * interval '10 ms', {began} + n * interval '10 ms'
           from generate_series(1, 500) n""",
        run,
    )
    await stage.open(f"runs/{run}")
    await stage.browser.call(
        "evaluate",
        """globalThis.touched = new Set(); new MutationObserver((seen) => {
             for (const { target } of seen) touched.add(target.closest("ol, div").id);
           }).observe(document.querySelector("#live_timeline"),
             { subtree: true, childList: true, attributes: true }); 0""",
    )

    await claim.step("last", "1")
    await stage.browser.sees("last", "#live_timeline")

    touched = await stage.browser.call("evaluate", "[...touched]")
    assert set(touched) <= {"live_timeline", "live_rows_450", "live_rows_500"}, touched
    assert "live_rows_500" in touched
