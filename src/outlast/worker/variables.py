"""Asks the server for the environment variables that the runs of a worker get.

With the standard library: an HTTP client would make the start of every worker a third slower.
"""

import asyncio
import itertools
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException

import msgspec

from outlast.client.settings import is_loopback
from outlast.protocol.triggers import Refusal
from outlast.worker.environment import Stored
from outlast.worker.events import Disconnected, WorkerEvent
from outlast.worker.link import RefusedError, pause
from outlast.worker.settings import WorkerSettings

PATH = "/api/outlast/v1/variables"
_SECONDS = 5.0
_MOST_BYTES = 16 * 1024 * 1024
_UNAUTHORIZED = (401, 403)


class _Reply(msgspec.Struct, frozen=True):
    revision: int
    variables: dict[str, str]
    secrets: tuple[str, ...] = ()


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nobody elsewhere: the key is for this server."""

    def redirect_request(self, *_: object) -> None:
        return None


async def ask(settings: WorkerSettings, on_event: Callable[[WorkerEvent], None]) -> Stored:
    """Return what is stored, however long it takes until a server answers.

    Raises `RefusedError` when the key opens nothing. A server that knows no variables has none.
    """
    for failures, url in enumerate(itertools.cycle(settings.api_urls), start=1):
        try:
            status, body = await asyncio.to_thread(_ask, url, settings.secret_key)
            if status == HTTPStatus.OK:
                found = msgspec.json.decode(body, type=_Reply)
                return Stored(found.revision, found.variables, found.secrets)
            reason = f"the server answered {status}"
        except (OSError, HTTPException, msgspec.MsgspecError) as error:
            status = HTTPStatus.SERVICE_UNAVAILABLE
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        if status in _UNAUTHORIZED:
            message = "the server does not accept the secret key"
            raise RefusedError(Refusal(status, "unauthorized", message))
        if status == HTTPStatus.NOT_FOUND:
            return Stored()
        on_event(Disconnected(url, reason))
        await asyncio.sleep(pause(failures))
    raise AssertionError("there is always one more server to ask")


def _ask(url: str, secret_key: str) -> tuple[int, bytes]:
    request = urllib.request.Request(  # noqa: S310 - http(s), as the link checks too
        url.rstrip("/") + PATH, headers={"Authorization": f"Bearer {secret_key}"}
    )
    direct = (urllib.request.ProxyHandler({}),) if is_loopback(url) else ()
    opener = urllib.request.build_opener(_Stay, *direct)
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            return answer.status, answer.read(_MOST_BYTES)
    except urllib.error.HTTPError as error:
        error.close()  # else its socket lives as long as the traceback
        return error.code, b""
