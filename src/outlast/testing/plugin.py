"""The pytest plugin: `outlast_env` for `async def` tests, `outlast_sync_env` for `def` tests.

Nothing of the platform is imported before a test asks for it.
"""

import sys
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from outlast.sdk.task import Task
    from outlast.testing.blocking import SyncPlatform
    from outlast.testing.platform import Platform

try:
    from pytest_asyncio import fixture as async_fixture
except ImportError:  # `def` tests work without
    async_fixture = pytest.fixture  # type: ignore[assignment] # it is told when it is used


@pytest.fixture
def outlast_tasks() -> "list[Task[Any, Any]] | None":
    """Return the tasks that the worker knows; override it. None: every task imported so far."""
    return None


@async_fixture
async def outlast_env(
    outlast_tasks: "list[Task[Any, Any]] | None",
) -> "AsyncIterator[Platform]":
    """Give a platform of this test alone. Needs pytest-asyncio, in either mode."""
    from outlast.testing.platform import Platform  # noqa: PLC0415 - only who uses it pays for it

    async with Platform(tasks=outlast_tasks) as env:
        yield env


@pytest.fixture
def outlast_sync_env(outlast_tasks: "list[Task[Any, Any]] | None") -> "Iterator[SyncPlatform]":
    """Give a platform of this test alone, with blocking calls."""
    from outlast.testing.blocking import SyncPlatform  # noqa: PLC0415 - as above

    with SyncPlatform(tasks=outlast_tasks) as env:
        yield env


def pytest_unconfigure() -> None:
    """Drop the databases of this process, if there are any."""
    made = sys.modules.get("outlast.testing.databases")
    if made is not None:
        made.close()
