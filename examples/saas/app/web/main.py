"""The application, put together. In production: `uvicorn --factory app.web.main:create_app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from outlast import TransportError, aclose
from starlette.middleware.sessions import SessionMiddleware

from app.settings import settings
from app.web import actions, cron, exports, inspector, invitations, session, webhooks

STATIC = Path(__file__).parent / "static"
DAY = 24 * 3600


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await aclose()


def create_app(debug: APIRouter | None = None) -> FastAPI:
    """Return the app; `debug` adds controls that belong to development only."""
    app = FastAPI(title=settings().app_name, openapi_url=None, lifespan=_lifespan)
    app.state.has_debug = debug is not None
    app.add_middleware(
        SessionMiddleware,
        secret_key=settings().session_secret.get_secret_value(),
        max_age=DAY,
        # A form on another site cannot make the browser send the cookie, so it cannot act for us.
        same_site="lax",
        https_only=settings().app_url.startswith("https://"),
    )
    for part in (session, inspector, exports, actions, invitations, cron, webhooks):
        app.include_router(part.router)
    if debug is not None:
        app.include_router(debug)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_exception_handler(session.NotSignedInError, _ask_to_sign_in)
    app.add_exception_handler(TransportError, _unavailable)
    return app


async def _ask_to_sign_in(request: Request, _: Exception) -> Response:
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": "sign in first"}, 401)
    return RedirectResponse("/sign-in", 303)


async def _unavailable(_: Request, __: Exception) -> Response:
    """Say that the platform does not answer; what the app does alone still works."""
    return JSONResponse({"error": "background work is not available, try again"}, 503)
