"""The server that the tests of the API call."""

from collections.abc import AsyncIterator

import pytest

from api_server import Api, running_api


@pytest.fixture
async def api(fresh_url: str) -> AsyncIterator[Api]:
    """Return a server with a project and a connected worker."""
    async with running_api(fresh_url) as api:
        yield api
