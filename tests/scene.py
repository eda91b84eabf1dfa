"""A server with a dashboard on a real socket, a worker in the test's hands, and a browser."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from api_server import Api, running_api
from browsing import Browser, browsing
from outlast.cli.pages import dashboard
from outlast.server.app import create_app
from outlast.server.listening import bind, listening
from outlast.server.settings import ServerSettings


@dataclass
class Stage:
    """What a test of a page has: the API, and the browser before it."""

    api: Api
    browser: Browser
    base: str
    """The path below which the environment's pages are."""

    async def open(self, path: str) -> None:
        """Open a page of the environment."""
        assert await self.browser.open(self.base + path) == 200


@asynccontextmanager
async def staged(url: str, *, is_open: bool = True) -> AsyncIterator[Stage]:
    """Give a dashboard on a database."""
    async with running_api(url) as api:
        settings = ServerSettings(database_url=url, encryption_keys=(), port=0)
        pages = dashboard(is_open=is_open, is_secure=False)
        app = create_app(settings, api.engine, pages=pages)
        async with listening(app, bind(settings)) as bound, browsing(bound.url) as browser:
            try:
                yield Stage(api, browser, f"/env/{api.platform.environment.project_ref}/dev/")
            finally:
                app.state.services.stopping.set()
