"""The dashboard application: routes, static files, and the headers that keep it to itself."""

import hashlib
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.resources import files

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from outlast.dashboard.pages import Fetch, NotShown, render_problem, run_page, runs_page

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_STATIC = {"dashboard.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}


Page = Callable[[Fetch, Request], Awaitable[str]]


def create_dashboard(fetch: Fetch) -> ASGIApp:
    """Return the pages over an API that `fetch` reaches. Whoever mounts it guards it."""
    return Starlette(
        routes=[
            Route("/", _home),
            Route("/runs", partial(_page, runs_page, fetch)),
            Route("/runs/{run_id}", partial(_page, run_page, fetch)),
            Route("/static/{name}", _static),
            Route("/{rest:path}", partial(_page, _nowhere, fetch)),
        ]
    )


async def _home(_: Request) -> Response:
    return RedirectResponse("/runs", 303)


async def _page(page: Page, fetch: Fetch, request: Request) -> Response:
    try:
        text, status = await page(fetch, request), 200
    except NotShown as reason:
        text, status = render_problem(reason), reason.status
    return HTMLResponse(
        text, status, {"content-security-policy": POLICY, "cache-control": "no-store"}
    )


async def _nowhere(_fetch: Fetch, request: Request) -> str:
    raise NotShown(404, f"there is no page {request.url.path}")


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        return Response("not found", 404, media_type="text/plain")
    data = (files("outlast.dashboard") / "static" / name).read_bytes()
    etag = f'"{hashlib.blake2b(data, digest_size=8).hexdigest()}"'
    headers = {"etag": etag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(data, headers=headers, media_type=_STATIC[name])
