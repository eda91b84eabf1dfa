"""A fake server that the environment of a test points to."""

import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from fake_api import FakeServer, handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """Return a running fake server that the environment points to."""
    fake = FakeServer()
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler(fake))
    http.daemon_threads = True
    http.block_on_close = False
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{http.server_address[1]}"
    monkeypatch.setenv("OUTLAST_API_URL", fake.url)
    monkeypatch.setenv("OUTLAST_SECRET_KEY", "tr_dev_0123456789")
    yield fake
    http.shutdown()
    http.server_close()
    thread.join(5)
