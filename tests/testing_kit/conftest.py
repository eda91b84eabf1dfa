"""A platform with the tasks of `kit_tasks.py`."""

from collections.abc import AsyncIterator

import pytest

import kit_tasks
from outlast.testing import Platform


@pytest.fixture(autouse=True)
def clean(testing_server: None) -> None:
    """Forget what the last test did."""
    kit_tasks.unwound.count = 0
    kit_tasks.written.clear()


@pytest.fixture
async def env() -> AsyncIterator[Platform]:
    async with Platform(tasks=kit_tasks.TASKS) as opened:
        yield opened
