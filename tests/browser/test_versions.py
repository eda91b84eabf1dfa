"""Versions in a browser: which one is current, and going back to another."""

from fake_worker import FakeWorker, manifest
from scene import Stage


async def test_an_environment_without_versions_says_how_to_get_one(stage: Stage) -> None:
    await stage.browser.open(stage.base.replace("/dev/", "/prod/") + "versions")

    await stage.browser.sees("No versions yet")
    await stage.browser.assert_clean()


async def test_going_back_to_an_older_version(stage: Stage) -> None:
    api = stage.api
    [first] = (await api.client.get("/api/v1/deployments")).json()["data"]
    await stage.open("versions")
    await stage.browser.sees("current", "#live_versions")
    newer = manifest("hello", digest="digest-2")
    await FakeWorker.open(api.engine, api.platform.environment, newer, session="session_b")
    button = f"button[aria-label='Promote {first['version']}']"
    await stage.browser.sees("Promote", button)
    await stage.browser.assert_clean()

    await stage.browser.call("click", button)

    await stage.browser.sees(f"new runs start on {first['version']}")
    current = (await api.client.get("/api/v1/deployments/current")).json()
    assert current["version"] == first["version"]
