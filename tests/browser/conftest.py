"""Fixtures of tests that look at the dashboard in a browser."""

from collections.abc import AsyncIterator

import pytest

from scene import Stage, staged


@pytest.fixture
async def stage(fresh_url: str) -> AsyncIterator[Stage]:
    """Return a dashboard that nobody logs in to."""
    async with staged(fresh_url) as made:
        yield made


@pytest.fixture
async def guarded(fresh_url: str) -> AsyncIterator[Stage]:
    """Return a dashboard that people log in to."""
    async with staged(fresh_url, is_open=False) as made:
        yield made
