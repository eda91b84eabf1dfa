"""Versions as deployments, and what the official clients may ask for in vain."""

import pytest

from api_server import Api
from outlast.server.routes.unsupported import FOLLOWED, UNSUPPORTED

DEPLOYMENTS = "/api/v1/deployments"


async def test_the_version_of_the_worker_is_the_current_deployment(api: Api) -> None:
    page = (await api.client.get(DEPLOYMENTS)).json()
    current = (await api.client.get(f"{DEPLOYMENTS}/current")).json()
    latest = (await api.client.get(f"{DEPLOYMENTS}/latest")).json()

    assert page["data"] == [current]
    assert latest == current
    assert (current["status"], current["isCurrent"]) == ("DEPLOYED", True)
    assert current["runtime"] == "python"
    assert (await api.client.get(DEPLOYMENTS, params={"status": "FAILED"})).json()["data"] == []


async def test_promoting_an_unknown_version_is_refused(api: Api) -> None:
    reply = await api.client.post(f"{DEPLOYMENTS}/20990101.1/promote")
    assert reply.status_code == 404


@pytest.mark.parametrize("path", UNSUPPORTED)
async def test_what_is_not_here_says_so_once(api: Api, path: str) -> None:
    """Never a 500, and nobody repeats it: readers of events would repeat a 501."""
    refused = 404 if path.startswith(FOLLOWED) else 501
    url = path.replace("{rest:path}", "x").replace("{run_id}", "run_1")
    for method in ("GET", "POST"):
        reply = await api.client.request(method, url)
        assert reply.status_code == refused
        assert "this server has no" in reply.json()["error"]
        assert reply.headers["x-should-retry"] == "false"
        unknown = await api.client.request(method, url, headers={"authorization": "Bearer x"})
        assert unknown.status_code == 401
