"""What the official clients can ask for and this server does not have: a plain answer, once."""

import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from outlast.server.auth import authenticate
from outlast.server.contract import KEY, TEXT, Schema, operation, promise
from outlast.server.problems import Problem

UNSUPPORTED = {
    "/api/v1/query": "queries over runs; use the filters of the run list",
    "/api/v1/query/{rest:path}": "queries over runs; use the filters of the run list",
    "/api/v1/concurrency-limits": "named limits; use the limits of queues",
    "/api/v1/concurrency-limits/{rest:path}": "named limits; use the limits of queues",
    "/api/v1/prompts": "prompts",
    "/api/v1/prompts/{rest:path}": "prompts",
    "/api/v1/sessions": "sessions; use input and output streams of a run",
    "/api/v1/sessions/{rest:path}": "sessions; use input and output streams of a run",
    "/realtime/v1/sessions/{rest:path}": "sessions; use input and output streams of a run",
    "/api/v1/webhooks": "hosted webhooks; use the callback URL of a waitpoint token",
    "/api/v1/webhooks/{rest:path}": "hosted webhooks; use the callback URL of a waitpoint token",
    "/api/v1/reports/{rest:path}": "reports",
    "/api/v1/auth/oidc/token": "OIDC credentials; use a key of the environment",
    "/api/v1/runs/{run_id}/input-streams/wait": "waits over HTTP; a task waits over its worker",
    "/api/v1/runs/{run_id}/session-streams/wait": "waits over HTTP; a task waits over its worker",
    "/engine/v1/{rest:path}": "workers of the official CLI; tasks are Python here",
}
"""Path -> what it is, and what to use instead."""

FOLLOWED = "/realtime/"
"""What clients follow: their readers give up on a 404; after a 501 they come back for ever."""

_NAMES = re.compile(r"\{(\w+)")
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def _status(path: str) -> int:
    return 404 if path.startswith(FOLLOWED) else 501


def _refusing(path: str, what: str) -> Callable[[Request], Awaitable[Response]]:
    async def refuse(request: Request) -> Response:
        await authenticate(request)
        raise Problem(_status(path), "not_supported", f"this server has no {what}")

    return refuse


routes = tuple(
    Route(path, _refusing(path, what), methods=_METHODS) for path, what in UNSUPPORTED.items()
)


def described() -> dict[str, Schema]:
    """Return what the document says of them: every method of every path."""
    return {path.replace(":path}", "}"): _item(path, what) for path, what in UNSUPPORTED.items()}


def _item(path: str, what: str) -> Schema:
    summary = f"No {what.partition(';')[0]}"
    said = promise(KEY, fails=(_status(path),))
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": TEXT}
            for name in _NAMES.findall(path)
        ],
        **{
            method.lower(): operation("not here", summary, f"This server has no {what}.", said)
            for method in _METHODS
        },
    }
