"""From an error to a response: the one table of statuses, codes and words.

The body is `{"error": text}` with `code`, `type` and `param` beside it, which both the official
clients and ours read. A deterministic refusal says `x-should-retry: false`, so that nobody repeats
it five times. What went wrong inside is logged, never answered.
"""

import logging
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from outlast.engine import errors as engine
from outlast.protocol.triggers import Refusal

logger = logging.getLogger(__name__)

_NO_FIELD = re.compile(r"body|str|int|float|bool|[A-Z]\w*|[\w-]+\[.*\]")
"""Parts of a location that name no field: the body itself, and the types that a value may be of."""
_RETRIED = frozenset({408, 429})
_FINAL_FAULTS = frozenset({*range(400, 500), 501}) - _RETRIED

# Never 409: the official client would repeat the same call five times. The text is None where the
# engine's own words are meant for the caller.
_ENGINE_FAULTS: tuple[tuple[type[engine.EngineError], int, str | None], ...] = (
    (engine.NotFound, 404, None),
    (engine.InvalidRequest, 422, None),
    (engine.Conflict, 422, None),
    (engine.BadData, 422, "a value in the request cannot be stored"),
    (engine.Unavailable, 503, "the database is not available"),
    (engine.SchemaMismatch, 503, "this server does not fit the schema of the database"),
)


class Problem(Exception):  # noqa: N818 - it is an answer, not only an error
    """Why a request is refused, ready to be answered."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        type: str | None = None,  # noqa: A002 - its name on the wire
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.type = type
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})


def unauthorized(message: str = "Invalid or Missing API key") -> Problem:
    """Return the answer to a caller nobody knows."""
    return Problem(401, "unauthenticated", message, headers={"www-authenticate": "Bearer"})


def forbidden() -> Problem:
    """Return the answer to a token that does not reach this far."""
    return Problem(403, "unauthorized", "Unauthorized", param="access_token", type="authorization")


def not_found(what: str) -> Problem:
    """Return the answer for an object that is not there, in this environment."""
    return Problem(404, "not_found", f"{what} not found")


def refused(refusal: Refusal) -> Problem:
    """Return the answer to a trigger that the engine refused."""
    return Problem(refusal.status, refusal.code, refusal.message, param=refusal.param)


def invalid(error: ValidationError | RequestValidationError, *, what: str = "body") -> Problem:
    """Return the answer to a body that breaks a rule: where and which, never the value itself."""
    broken: dict[str, list[str]] = {}  # by place: what may be of several types breaks all of them
    for item in error.errors()[:20]:
        rules = broken.setdefault(_location(item["loc"]), [])
        if (rule := _rule(item["type"], str(item["msg"]))) not in rules:
            rules.append(rule)
    details = [{"path": path, "message": ", or ".join(rules)} for path, rules in broken.items()]
    text = "; ".join(
        f"{item['path'] or what}: {item['message']}" if item["path"] else item["message"]
        for item in details
    )
    return Problem(400, "invalid_request", text, extra={"details": details})


def limited(
    retry_after: float,
    *,
    limit: int = 0,
    remaining: int = 0,
    detail: str = "the server has more waiting callers than it can serve",
) -> Problem:
    """Return the answer to a caller who comes too often; the official client sleeps until reset."""
    reset = int((time.time() + retry_after) * 1000)
    shown = {"limit": limit, "remaining": remaining, "reset": reset}
    return Problem(
        429,
        "rate_limited",
        f"too many requests; try again in {math.ceil(retry_after)} s",
        headers={
            "content-type": "application/problem+json",
            "retry-after": str(math.ceil(retry_after)),
            **{f"x-ratelimit-{name}": str(value) for name, value in shown.items()},
        },
        extra={
            **shown,
            "title": "Rate limit exceeded",
            "status": 429,
            "type": "about:blank",
            "detail": detail,
            "secondsUntilReset": math.ceil(retry_after),
        },
    )


def of(error: Exception) -> Problem:
    """Return the answer for any error; what is not foreseen is a 500 that tells nothing."""
    match error:
        case Problem():
            return error
        case RequestValidationError() | ValidationError():
            return invalid(error)
        case HTTPException():
            return _of_http(error)
        case engine.EngineError():
            return _of_engine(error)
    return Problem(500, "internal", "Something went wrong")


def response(problem: Problem) -> Response:
    """Return the response that carries a problem."""
    body: dict[str, object] = {"error": problem.message, "code": problem.code}
    if problem.type is not None:
        body["type"] = problem.type
    if problem.param is not None:
        body["param"] = problem.param
    body |= problem.extra
    headers = {"content-type": "application/json", **problem.headers}
    if problem.status in _FINAL_FAULTS:
        headers["x-should-retry"] = "false"
    return Response(msgspec.json.encode(body), problem.status, headers)


async def respond(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request or refuse a WebSocket handshake, below any framework."""
    answer = response(problem)
    if scope["type"] != "websocket":
        await answer(scope, receive, send)
    elif "websocket.http.response" in scope.get("extensions", {}):
        await receive()
        start = {"status": problem.status, "headers": answer.raw_headers}
        await send({"type": "websocket.http.response.start", **start})
        await send({"type": "websocket.http.response.body", "body": answer.body})
    else:
        await receive()
        await send({"type": "websocket.close", "code": 1008})


def install(app: FastAPI) -> None:
    """Make the application answer every error from this table."""
    for kind in (Problem, engine.EngineError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _handle)


async def _handle(request: Request, error: Exception) -> Response:
    problem = of(error)
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR and isinstance(error, engine.EngineError):
        route = request.scope.get("route")
        where = getattr(route, "path", "unknown")  # the template: paths can hold secrets
        logger.error("request failed", exc_info=error, extra={"route": where})
    return response(problem)


def _of_http(error: HTTPException) -> Problem:
    try:
        phrase = HTTPStatus(error.status_code).phrase
    except ValueError:
        phrase = "Request refused"
    code = phrase.lower().replace(" ", "_")
    return Problem(error.status_code, code, phrase, headers=error.headers)


def _of_engine(error: engine.EngineError) -> Problem:
    match error:
        case engine.Refused():
            return refused(error.refusal)
        case engine.Overloaded():
            return limited(error.retry_after)
        case engine.Unauthorized():
            return unauthorized()
    for kind, status, message in _ENGINE_FAULTS:
        if isinstance(error, kind):
            param = error.param if isinstance(error, engine.InvalidRequest) else None
            again = {"retry-after": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
            return Problem(status, error.code, message or str(error), param=param, headers=again)
    return Problem(500, "internal", "Something went wrong")


def _location(parts: Sequence[int | str] | Iterable[object]) -> str:
    """Return the path of a field, without the names of the types that it may be of."""
    return ".".join(str(part) for part in parts if not _NO_FIELD.fullmatch(str(part)))


def _rule(kind: str, message: str) -> str:
    """Return the broken rule; messages of our own validators and of JSON are free of input."""
    if kind == "json_invalid":
        return "Invalid JSON"
    return message[:1].lower() + message[1:]
