"""The API as a page asks it: requests of the client, answered in this process."""

import logging
from typing import TypeVar
from urllib.parse import unquote, urlencode

from starlette.types import ASGIApp, Message, Scope

from outlast.client.requests import Reply, Request, read
from outlast.protocol.roles import PAGE

logger = logging.getLogger(__name__)

T = TypeVar("T")

_API_VERSION = "2025-07-16"  # statuses and shapes of today, not of the oldest clients


class Api:
    """The API with the rights of one person in one environment."""

    def __init__(self, app: ASGIApp, token: str, *, person: str = "") -> None:
        self._app = app
        self._token = token
        self._person = person

    async def __call__(self, request: Request[T]) -> T:
        """Return what the API answers. Raises `ApiError`.

        An HTTP client in between would cost half of a page's time.
        """
        status = 500
        headers: dict[str, str] = {}
        body = bytearray()
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if asked:
                return {"type": "http.disconnect"}
            asked = True
            return {"type": "http.request", "body": request.body or b"", "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = {name.decode(): value.decode() for name, value in message["headers"]}
            elif message["type"] == "http.response.body":
                body.extend(message.get("body", b""))

        try:
            await self._app(self._scope(request), receive, send)
        except Exception:
            # an application answers 500 and raises too, for the log of its server
            logger.exception("a page's request failed", extra={"method": request.method})
            status = 500
        return read(request, Reply(status, bytes(body), headers))

    def _scope(self, request: Request[T]) -> Scope:
        own = {
            "host": "localhost",
            "authorization": f"Bearer {self._token}",
            "x-trigger-api-version": _API_VERSION,
            "content-length": str(len(request.body or b"")),
            **request.headers(),
        }
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "extensions": {PAGE: {"person": self._person}},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": unquote(request.path),
            "raw_path": request.path.encode(),
            "query_string": urlencode(request.query).encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in own.items()],
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", 0),
            "state": {},
        }
