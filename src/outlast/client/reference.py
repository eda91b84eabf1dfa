"""The document of the HTTP API."""

import json
from typing import Any

from outlast.client.requests import Reply, Request


def retrieve() -> Request[dict[str, Any]]:
    """Return the request for the OpenAPI document; it needs no key."""
    return Request("GET", "/openapi.json", _decode)


def _decode(reply: Reply) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(reply.body)
    return found
