"""Servers on a database of their own, whose audit finds nothing at the end."""

from collections.abc import AsyncIterator

import pytest

from engines import Platform, platform
from outlast.engine.engine import Engine


@pytest.fixture
async def place(fresh_url: str) -> AsyncIterator[Platform]:
    """Return an environment, and the servers that a test starts for it."""
    async with platform(fresh_url) as made:
        yield made


@pytest.fixture
async def engine(place: Platform) -> AsyncIterator[Engine]:
    """Return one server of it."""
    engine = await place.server()
    yield engine
    assert await engine._audit.environment(place.environment.id) == []
