"""One call of the API from the terminal."""

import atexit
from functools import cache
from typing import TypeVar

from outlast.cli.connection import Connection
from outlast.client.requests import Request
from outlast.client.settings import Settings
from outlast.client.transport import SyncTransport

T = TypeVar("T")


def call(found: Connection, request: Request[T]) -> T:
    """Send a request. Raises the client's errors, which the command line shows as one line."""
    return _transport(found).send(request)


@cache
def _transport(found: Connection) -> SyncTransport:
    transport = SyncTransport(Settings(found.api_urls[0], found.secret_key))
    atexit.register(transport.close)
    return transport
