"""The dashboard mounted beside the API, reading it in process like any other client."""

from collections.abc import Awaitable, Callable

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp

from api_server import Api
from outlast.dashboard.app import create_dashboard
from outlast.server.app import create_app


def pages(key: str) -> Callable[[FastAPI], ASGIApp]:
    def build(app: FastAPI) -> ASGIApp:
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://localhost",
            headers={"authorization": f"Bearer {key}", "x-trigger-api-version": "1"},
        )

        async def fetch(path: str) -> tuple[int, bytes]:
            reply = await client.get(path)
            return reply.status_code, reply.content

        return create_dashboard(fetch)

    return build


async def look(api: Api, then: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]) -> str:
    app = create_app(api.app.state.services.settings, api.engine, pages=pages(api.key))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost", follow_redirects=True
    ) as client:
        reply = await then(client)
    assert reply.headers["x-content-type-options"] == "nosniff"
    return reply.text


async def test_the_pages_show_the_runs_of_the_environment(api: Api) -> None:
    run = await api.trigger(payload={"n": 1}, options={"tags": ["org_1"]})
    (await api.worker.claim(run)).complete('{"total": 42}')
    await api.ended(run)

    listed = await look(api, lambda client: client.get("/"))
    shown = await look(api, lambda client: client.get(f"/runs/{run}"))
    missing = await look(api, lambda client: client.get("/runs/run_nobody"))

    assert f'href="/runs/{run}"' in listed
    assert "completed" in listed
    assert "&#34;total&#34;: 42" in shown
    assert "there is no run" in missing


async def test_the_pages_leave_the_api_its_paths(api: Api) -> None:
    unknown = await look(api, lambda client: client.get("/api/v1/runs"))
    nowhere = await look(api, lambda client: client.get("/api/v1/nowhere"))
    wrong = await look(api, lambda client: client.get("/api/v1/tasks/hello/trigger"))

    assert "Invalid or Missing API key" in unknown
    assert '"code":"not_found"' in nowhere
    assert '"code":"method_not_allowed"' in wrong


async def test_a_foreign_page_cannot_post_to_the_dashboard(api: Api) -> None:
    text = await look(
        api, lambda client: client.post("/runs", headers={"origin": "http://evil.com"})
    )

    assert "foreign_origin" in text
