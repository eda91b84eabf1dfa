"""A platform with the tasks of `kit_tasks.py`."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest

import kit_tasks
from outlast.testing import Platform, databases


@pytest.fixture(scope="session")
def server(database_url: str) -> Iterator[str]:
    """Return the server of the other tests; the databases go before it does."""
    yield database_url
    databases.close()


@pytest.fixture(autouse=True)
def clean(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the PostgreSQL of the other tests, and forget what the last test did."""
    monkeypatch.setitem(os.environ, "OUTLAST_TEST_DATABASE_URL", server)
    kit_tasks.unwound.count = 0
    kit_tasks.written.clear()


@pytest.fixture
async def env() -> AsyncIterator[Platform]:
    async with Platform(tasks=kit_tasks.TASKS) as opened:
        yield opened
