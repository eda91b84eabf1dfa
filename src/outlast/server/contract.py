"""What a route promises beside its signature: who may call it, what else it takes, what it answers.

Each route says it where it is defined; `server/openapi.py` makes one document of all.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypedDict

import msgspec
from pydantic import BaseModel

Access = Sequence[Mapping[str, Sequence[str]]]
"""Any one of these suffices: a kind of credential, with the scope that a token needs."""

Schema = dict[str, Any]

JSON = "application/json"
PROBLEM = "application/problem+json"
EVENTS = "text/event-stream"
LINES = "application/x-ndjson"
TEXT: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "string", "enum": ["true", "false"]}

OPEN: Access = ()
"""No environment's data, or an address that is itself the key."""
KEY: Access = ({"key": ()},)
ROOT: Access = ({"rootKey": ()}, {"token": ("admin",)})
PERSON: Access = ({"personalToken": ()},)
MINTER: Access = ({"key": ()}, {"runToken": ()})

TOKEN_HEADERS = {
    "x-trigger-jwt": "a token with which a browser follows what was made",
    "x-trigger-jwt-claims": "what the token claims, for a caller that signs for itself",
}
_REFS = "#/components/schemas/{model}"
_ANY = {"description": "any JSON"}
_ALWAYS = (400, 421)
_BEHIND_A_KEY = (401, 403, 429, 503)


def key_or(*scopes: str) -> Access:
    """Let pass secret keys, and tokens with one of the scopes; `{name}` is of the object."""
    return ({"key": ()}, *({"token": (scope,)} for scope in scopes))


def or_person(access: Access) -> Access:
    """Let pass personal tokens too, as far as the role of their holder goes."""
    return (*access, *PERSON)


READ_ALL = key_or("read:all")
WRITE_ALL = key_or("write:all")
READ_RUN = key_or(
    "read:runs:{run_id}", "read:tasks:{task}", "read:tags:{tag}", "read:batch:{batch}"
)
WRITE_RUN = key_or("write:runs:{run_id}", "write:tasks:{task}")


class Promise(TypedDict):
    """The arguments of a route that say it."""

    responses: dict[int | str, dict[str, Any]]
    openapi_extra: dict[str, Any]


def promise(
    access: Access,
    *,
    fails: Sequence[int] = (),
    body: type[BaseModel] | Schema | None = None,
    media: str = JSON,
    needs_body: bool = False,
    query: Mapping[str, Schema] | None = None,
    headers: Mapping[str, Schema] | None = None,
    answers: Mapping[int, dict[str, Any]] | None = None,
) -> Promise:
    """Return what a route says of itself.

    `fails`: refusals beyond those of the gate, the key, the path and what is sent. `body`: what is
    read from the raw request, in `media`. `answers`: what FastAPI cannot know by itself.
    """
    statuses = {*_ALWAYS, *(_BEHIND_A_KEY if access else ()), *fails}
    extra: dict[str, Any] = {"security": [{k: list(v) for k, v in one.items()} for one in access]}
    if body is not None:
        schema = body if isinstance(body, dict) else _schema(body)
        extra["requestBody"] = {"required": needs_body, "content": {media: {"schema": schema}}}
    extra["parameters"] = [
        {"name": name, "in": place, "required": False, "schema": schema}
        for place, several in (("query", query), ("header", headers))
        for name, schema in (several or {}).items()
    ]
    return Promise(
        responses={status: refusal(status) for status in sorted(statuses)} | dict(answers or {}),
        openapi_extra=extra,
    )


def operation(tag: str, summary: str, description: str, said: Promise) -> Schema:
    """Return how the document describes what is no route of FastAPI."""
    return {
        "tags": [tag],
        "summary": summary,
        "description": description,
        "responses": {str(status): told for status, told in said["responses"].items()},
        **said["openapi_extra"],
    }


def refusal(status: int) -> dict[str, Any]:
    """Return how an error is described."""
    limited = status == HTTPStatus.TOO_MANY_REQUESTS
    name, media = ("LimitReply", PROBLEM) if limited else ("ErrorReply", JSON)
    return {
        "description": HTTPStatus(status).phrase,
        "content": {media: {"schema": {"$ref": _REFS.format(model=name)}}},
    }


def answer(
    said: str,
    schema: Schema | None = None,
    media: str = JSON,
    *,
    headers: Mapping[str, str] | None = None,
) -> Schema:
    """Return how an answer is described; without a schema it has no body."""
    told: dict[str, Any] = {"description": said}
    if schema is not None:
        told["content"] = {media: {"schema": schema}}
    if headers:
        told["headers"] = {
            name: {"description": text, "schema": TEXT} for name, text in headers.items()
        }
    return told


def _schema(body: type[BaseModel]) -> Schema:
    """Return a reference to a body, with what it stands for to be moved to the others."""
    whole = body.model_json_schema(ref_template=_REFS)
    parts = whole.pop("$defs", {})
    name = body.__name__
    return {"$ref": _REFS.format(model=name), "$defs": {**parts, name: whole}}


def structs(shape: object, *, many: bool = False) -> Schema:
    """Return the schema of a msgspec struct, or of a list of them."""
    [ref], parts = msgspec.json.schema_components(
        (shape,), schema_hook=lambda _: dict(_ANY), ref_template=_REFS.replace("model", "name")
    )
    return {**({"type": "array", "items": ref} if many else ref), "$defs": parts}
