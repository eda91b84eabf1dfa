"""A fake server that the environment of a test points to."""

from collections.abc import Iterator

import pytest

from fake_api import FakeServer, running_fake


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """Return a running fake server that the environment points to."""
    with running_fake() as fake:
        monkeypatch.setenv("OUTLAST_API_URL", fake.url)
        monkeypatch.setenv("OUTLAST_SECRET_KEY", "tr_dev_0123456789")
        yield fake
