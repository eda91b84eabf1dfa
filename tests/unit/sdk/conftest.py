"""A run to be inside of, and a registry that forgets."""

from collections.abc import Iterator

import pytest

from fake_api import FakeServer, running_fake
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


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """Return a running fake server that the environment points to."""
    with running_fake() as fake:
        monkeypatch.setenv("OUTLAST_API_URL", fake.url)
        monkeypatch.setenv("OUTLAST_SECRET_KEY", "tr_dev_0123456789")
        yield fake
