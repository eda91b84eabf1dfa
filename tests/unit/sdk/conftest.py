"""A run to be inside of, and a registry that forgets."""

from collections.abc import Iterator

import pytest

from fake_runtime import FakeRuntime
from outlast.sdk import runtime
from outlast.sdk.registry import registry


@pytest.fixture(autouse=True)
def _empty_registry() -> Iterator[None]:
    with registry.isolated():
        yield


@pytest.fixture
def run() -> Iterator[FakeRuntime]:
    """Make a fake run the current one. For `async def` tests use `with inside(run)`."""
    fake = FakeRuntime()
    with runtime.entered(fake):
        yield fake
