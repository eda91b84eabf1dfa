"""Workers, keys, settings and the audit log in a browser."""

from outlast.protocol.roles import Role
from outlast.protocol.vitals import ProcessVitals, Vitals
from scene import Stage

PASSWORD = "correct horse battery"


async def test_workers_say_how_they_are(stage: Stage) -> None:
    await stage.open("workers")
    await stage.browser.sees("not told yet", "#live_workers")
    await stage.api.worker.beat(
        Vitals(
            capacity={"shared": 100},
            processes=(ProcessVitals(4711, "shared", 7, 30, 120_000_000, blocked=True),),
        )
    )

    await stage.browser.sees("7 of 100", "#live_workers")
    await stage.browser.sees("120 MB", "#live_workers")
    await stage.browser.sees("a loop is blocked", "#live_workers")
    await stage.browser.assert_clean()


async def test_without_a_worker_it_says_how_to_start_one(stage: Stage) -> None:
    await stage.browser.open(stage.base.replace("/dev/", "/prod/") + "workers")

    await stage.browser.sees("No worker is connected")
    await stage.browser.sees("tr_prod_", ".empty")
    await stage.browser.assert_clean()


async def test_a_key_is_made_shown_once_and_revoked(stage: Stage) -> None:
    await stage.open("keys")
    await stage.browser.assert_clean()
    await stage.browser.call("fill", "input[name=name]", "web-app")
    await stage.browser.call("click", "text=Make the key")
    await stage.browser.sees("TRIGGER_SECRET_KEY=tr_dev_sk_", ".made")
    await stage.browser.assert_clean()
    secret = (await stage.browser.call("text", ".made pre")).strip().partition("=")[2]
    async with stage.api.with_bearer(secret) as holder:
        assert (await holder.get("/api/v1/runs")).status_code == 200

        await stage.open("keys")
        await stage.browser.sees_no("tr_dev_sk_")
        await stage.browser.call("click", "button[aria-label='Revoke web-app']")
        await stage.browser.sees("the key is revoked")
        assert (await holder.get("/api/v1/runs")).status_code == 401


async def test_the_root_key_is_rotated(stage: Stage) -> None:
    await stage.open("keys")

    await stage.browser.call("click", "button:text('Rotate')")

    await stage.browser.sees("TRIGGER_SECRET_KEY=tr_dev_", ".made")
    assert (
        len(await stage.api.engine.keys.roots(stage.api.platform.environment.id, fresh=True)) == 2
    )


async def test_the_environment_is_paused_limited_and_goes_on(stage: Stage) -> None:
    await stage.open("settings")
    await stage.browser.assert_clean()
    await stage.browser.call("click", "text=Pause the environment")
    await stage.browser.sees("the environment is paused")
    run = await stage.api.trigger()
    await stage.browser.call("fill", "input[name=limit]", "7")
    await stage.browser.call("fill", "input[name=days]", "30")
    await stage.browser.call("fill", "input[name=log_days]", "5")
    await stage.browser.call("fill", "input[name=stream_days]", "")
    await stage.browser.call("click", "button:text-is('Set')")
    await stage.browser.sees("the limits are set")
    await stage.browser.sees("30 days", ".tiles")
    kept = await stage.api.engine.retention.kept(stage.api.platform.environment.id)
    assert (kept.runs, kept.logs, kept.streams) == (30, 5, None)
    await stage.browser.call("click", "text=Resume the environment")
    await stage.browser.sees("the environment goes on")
    await stage.api.worker.claim(run)

    await stage.open("audit")

    await stage.browser.sees("pause environment", "main")
    await stage.browser.sees("change limits", "main")
    await stage.browser.assert_clean()


async def test_only_admins_find_keys_and_the_audit_log(guarded: Stage) -> None:
    await guarded.api.engine.users.add("ada", Role.OPERATOR, PASSWORD)
    await guarded.browser.open("/")
    await guarded.browser.call("fill", "input[name=name]", "ada")
    await guarded.browser.call("fill", "input[name=password]", PASSWORD)
    await guarded.browser.call("click", ".primary")
    await guarded.browser.sees("ada", ".person")

    menu = await guarded.browser.call("text", "#menu")
    refused = [await guarded.browser.open(guarded.base + path) for path in ("keys", "audit")]

    assert "API keys" not in menu
    assert "Settings" in menu
    assert refused == [403, 403]
