"""The reference of the HTTP API as people read it: the OpenAPI document in groups and tables."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from outlast.dashboard.contracts import Field, example, fields, says

Document = dict[str, Any]

_METHODS = ("get", "post", "put", "patch", "delete", "head")
_CREDENTIALS = {
    "key": "a secret key",
    "rootKey": "the root key",
    "personalToken": "a personal token",
    "runToken": "the token of a run",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer of a route; `says` names shapes, which have places of their own."""

    status: str
    description: str
    says: str
    media: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What goes into the path, the query or a header."""

    name: str
    place: str
    says: str
    is_required: bool
    description: str


@dataclass(frozen=True, kw_only=True)
class Route:
    """One method of one path."""

    anchor: str
    method: str
    path: str
    summary: str
    description: str
    credentials: tuple[str, ...]
    scopes: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    media: str
    body: tuple[Field, ...]
    answers: tuple[Answer, ...]
    refusals: tuple[str, ...]
    curl: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """The routes of one resource."""

    name: str
    description: str
    routes: list[Route] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """What an address ends with that leads here."""
        return f"group-{self.name.replace(' ', '-')}"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A body that routes name."""

    name: str
    description: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The whole page."""

    about: str
    groups: tuple[Group, ...]
    shapes: tuple[Shape, ...]
    credentials: tuple[tuple[str, str], ...]

    @property
    def count(self) -> int:
        """How many routes there are."""
        return sum(len(group.routes) for group in self.groups)

    def linked(self, text: str) -> Iterator[tuple[str, bool]]:
        """Yield a text in pieces, and of each whether it is the name of a shape."""
        for piece in re.split(r"(\w+)", text):
            yield piece, piece in self._names

    @property
    def _names(self) -> frozenset[str]:
        return frozenset(shape.name for shape in self.shapes)


def reference(found: Document) -> Reference:
    """Return the page of a document."""
    shapes: Document = found["components"]["schemas"]
    groups = {
        tag["name"]: Group(name=tag["name"], description=tag["description"])
        for tag in found["tags"]
    }
    for path, item in found["paths"].items():
        there = [method for method in _METHODS if method in item]
        if _are_alike([item[method] for method in there]):
            there = ["any"]
            item["any"] = item["get"]
        for method in there:
            groups[item[method]["tags"][0]].routes.append(_route(path, method, item, shapes))
    schemes = found["components"]["securitySchemes"]
    return Reference(
        about=found["info"]["description"],
        groups=tuple(group for group in groups.values() if group.routes),
        shapes=tuple(
            Shape(
                name=name,
                description=shape.get("description", ""),
                fields=fields({**shape, "$defs": shapes}, deepest=1),
            )
            for name, shape in sorted(shapes.items())
            if "properties" in shape
        ),
        credentials=tuple((name, scheme["description"]) for name, scheme in schemes.items()),
    )


def _are_alike(found: list[Document]) -> bool:
    return len(found) > 1 and all(one == found[0] for one in found)


def _route(path: str, method: str, item: Document, shapes: Document) -> Route:
    operation: Document = item[method]
    parameters = [*item.get("parameters", ()), *operation.get("parameters", ())]
    media, schema = next(_contents(operation.get("requestBody")), ("", None))
    answers = operation["responses"]
    access: list[dict[str, list[str]]] = operation.get("security", [])
    return Route(
        anchor=operation.get("operationId") or re.sub(r"\W+", "-", f"{method}{path}"),
        method=method.upper(),
        path=path,
        summary=operation.get("description", "").partition("\n")[0].partition(". ")[0].rstrip("."),
        description=operation.get("description", ""),
        credentials=tuple(_CREDENTIALS[kind] for one in access for kind in one if kind != "token"),
        scopes=tuple(scope for one in access for scope in one.get("token", ())),
        parameters=tuple(_parameter(one, shapes) for one in parameters),
        media=media,
        body=() if schema is None else fields({**schema, "$defs": shapes}, deepest=1),
        answers=tuple(
            _answer(status, told, shapes)
            for status, told in answers.items()
            if not _is_refusal(told)
        ),
        refusals=tuple(
            f"{status} {told['description']}"
            for status, told in answers.items()
            if _is_refusal(told)
        ),
        curl=_curl(
            f"{method.upper()} {path}",
            None if schema is None else {**schema, "$defs": shapes},
            media=media,
            is_open=not access,
        ),
    )


def _contents(found: Document | None) -> Iterator[tuple[str, Document]]:
    for media, told in ((found or {}).get("content") or {}).items():
        yield media, told.get("schema", {})


def _is_refusal(told: Document) -> bool:
    refs = [schema.get("$ref", "") for _, schema in _contents(told)]
    return any(ref.endswith(("/ErrorReply", "/LimitReply")) for ref in refs)


def _parameter(found: Document, shapes: Document) -> Parameter:
    schema = {**found.get("schema", {}), "$defs": shapes}
    told = says(schema)
    if "default" in schema:
        told += f", {json.dumps(schema['default'])} unless said"
    return Parameter(
        name=found["name"],
        place=found["in"],
        says=told,
        is_required=bool(found.get("required")),
        description=schema.get("description", ""),
    )


def _answer(status: str, told: Document, shapes: Document) -> Answer:
    media, schema = next(_contents(told), ("", None))
    return Answer(
        status=status,
        description=told["description"],
        says="" if schema is None else says({**schema, "$defs": shapes}),
        media=media,
        headers=tuple(
            (name, one.get("description", "")) for name, one in told.get("headers", {}).items()
        ),
    )


def _curl(route: str, schema: Document | None, *, media: str, is_open: bool) -> str:
    method, _, path = route.partition(" ")
    how = {"GET": "", "HEAD": "-I "}.get(method, f"-X {method} ")
    parts = [f'curl {how}"$TRIGGER_API_URL{path}"']
    if not is_open:
        parts.append('-H "Authorization: Bearer $TRIGGER_SECRET_KEY"')
    if schema is not None:
        value = example(schema)
        text = value if isinstance(value, str) else json.dumps(value or {}, ensure_ascii=False)
        body = text.replace("'", "'\\''")
        parts += [f"-H 'Content-Type: {media}'", f"-d '{body}'"]
    return " \\\n  ".join(parts)
