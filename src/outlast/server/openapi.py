"""The document of the HTTP API: what the routes say of themselves, put together and made whole."""

import asyncio
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from outlast.protocol.refusals import ErrorReply, LimitReply
from outlast.server.contract import Schema, refusal
from outlast.server.routes import gateway, unsupported

OPENAPI_PATH = "/openapi.json"
_METHODS = frozenset({"get", "put", "post", "delete", "patch", "head"})
_REFS = "#/components/schemas/{model}"

TAGS = {
    "triggers": "Start runs of tasks.",
    "batches": "Start many runs as one.",
    "runs": "What runs are, did and became; stop them, repeat them, change them.",
    "bulk actions": "Cancel or repeat many runs.",
    "realtime": "Follow runs as they change, by long polls in the manner of Electric.",
    "streams": "What a run writes while it works, and messages to it.",
    "waitpoints": "Tokens that runs wait for, and their completion.",
    "schedules": "Runs by the clock.",
    "queues": "Limits, pauses and depths.",
    "tasks": "What the current version offers.",
    "usage": "What tasks did, and what failed alike.",
    "alerts": "Who is told of failed runs, new errors and new versions.",
    "deployments": "Versions that workers brought.",
    "packets": "Values too large for a request.",
    "tokens": "Tokens for browsers.",
    "keys": "Keys of the environment, and who did what.",
    "environment": "What a key belongs to.",
    "people": "Whose a personal token is.",
    "envvars": "Variables that tasks find in their environment.",
    "workers": "Where workers connect.",
    "health": "Whether the server lives, and this document.",
    "not here": "What the official clients can ask for and this server has not.",
}
_SCHEMES: dict[str, Schema] = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "A secret key of the environment: `tr_dev_…` or `tr_dev_sk_…`",
    },
    "rootKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "The root key of the environment",
    },
    "personalToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of a person: `tr_pat_…`",
    },
    "runToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The token that a run has from its worker",
    },
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A public token with the scope, with the scope of the whole type "
        "(`read:runs`), with `read:all`, `*:all`, or with `admin`; `write` covers `trigger` and "
        "`batchTrigger`",
    },
}
_ABOUT = """\
Durable background work over HTTP. A secret key goes into `Authorization: Bearer`; browsers get \
tokens with scopes. Bodies are JSON in camel case. In answers, what has no value is absent where \
the schema does not say null. Errors are `{"error", "code"}`; `x-should-retry: false` says that \
the same request fails again. A limited key reads `x-ratelimit-limit`, `x-ratelimit-remaining` and \
`x-ratelimit-reset` (milliseconds since the epoch)."""


def document(app: FastAPI) -> Schema:
    """Return the whole document."""
    made = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        summary=app.summary,
        description=_ABOUT,
        routes=app.routes,
        tags=[{"name": name, "description": said} for name, said in TAGS.items()],
    )
    paths: dict[str, Schema] = made["paths"]
    paths[gateway.PATH] = gateway.described()
    paths |= unsupported.described()
    parts: dict[str, Schema] = made.setdefault("components", {}).setdefault("schemas", {})
    for gone in ("HTTPValidationError", "ValidationError"):
        parts.pop(gone, None)
    for body in (ErrorReply, LimitReply):
        parts[body.__name__] = body.model_json_schema(mode="serialization", ref_template=_REFS)
    for path, method, operation in operations(made):
        _complete(operation, path, method)
    _hoist(made, parts)
    made["components"]["securitySchemes"] = _SCHEMES
    _untitle(made)
    for name, part in parts.items():
        part["title"] = name
    return made


class Document:
    """The document as JSON, made at its first use beside the loop: it takes a second."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._making = asyncio.Lock()
        self._text: bytes | None = None

    async def text(self) -> bytes:
        """Return it."""
        async with self._making:
            if self._text is None:
                self._text = await asyncio.to_thread(self._make)
            return self._text

    def _make(self) -> bytes:
        return msgspec.json.encode(document(self._app))


def operations(made: Schema) -> Iterator[tuple[str, str, Schema]]:
    """Yield path, method and operation of a document."""
    for path, item in made["paths"].items():
        for method in item.keys() & _METHODS:
            yield path, method, item[method]


def name_of(route: APIRoute) -> str:
    """Return the id of an operation: where it is defined."""
    return f"{route.endpoint.__module__.rpartition('.')[2]}_{route.name}"


def _complete(operation: Schema, path: str, method: str) -> None:
    """Say what every route with such a path or body has in common."""
    answers: dict[str, Schema] = operation["responses"]
    if "#/components/schemas/HTTPValidationError" in str(answers.get("422")):
        del answers["422"]
    if "{" in path:
        answers.setdefault("404", refusal(404))
    if "requestBody" in operation:
        answers.setdefault("413", refusal(413))
    if operation.get("security") and ("requestBody" in operation or operation.get("parameters")):
        answers.setdefault("422", refusal(422))  # any text may be one that cannot be stored
    for status, told in answers.items():
        if told["description"] == "Successful Response":
            told["description"] = HTTPStatus(int(status)).phrase
        if method == "head":
            told.pop("content", None)
    operation["responses"] = {str(status): answers[status] for status in sorted(answers, key=str)}
    if not operation.get("parameters"):
        operation.pop("parameters", None)


def _hoist(found: Any, parts: dict[str, Schema]) -> None:
    """Move definitions that stand inside to where the references look for them."""
    waiting = [found]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            inner = one.pop("$defs", {})
            for name, schema in inner.items():
                parts.setdefault(name, schema)
            waiting += [*one.values(), *inner.values()]
        elif isinstance(one, list):
            waiting += one


def _untitle(made: Schema) -> None:
    """Drop the titles of properties and parameters, which only repeat their names."""
    waiting: list[Any] = [made["paths"], made["components"]]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if isinstance(one.get("title"), str):
                del one["title"]
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
