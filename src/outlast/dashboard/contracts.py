"""A payload's JSON Schema as people read it: rows of a contract, and the fields of a form."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from pydantic import JsonValue

from outlast.dashboard.words import is_json

Schema = dict[str, JsonValue]
Control = Literal["text", "long", "number", "boolean", "choice", "date", "json"]

_DEEPEST = 3
_MOST_FIELDS = 100
_LONG_CHARS = 200
_FORMATS = {
    "uuid": "UUID",
    "date-time": "moment with a zone",
    "date": "date",
    "time": "time of day",
    "email": "e-mail address",
    "uri": "URL",
    "duration": "duration",
    "binary": "bytes",
}
_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "yes or no",
          "null": "nothing", "object": "object", "array": "list"}  # fmt: skip
_CONTROLS: dict[str, Control] = {"integer": "number", "number": "number", "boolean": "boolean"}
_EXAMPLES: dict[str, JsonValue] = {
    "uuid": "3f0c7a52-9a1e-4c8a-b6de-2f6f2a8f1d10",
    "date-time": "2026-01-31T09:00:00Z",
    "date": "2026-01-31",
    "email": "ada@example.com",
    "uri": "https://example.com",
}


class Mistyped(Exception):  # noqa: N818 - said beside the form
    """What was typed into a field is not what the contract says."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One value of a payload. `name` is its path, `key` what the form calls it."""

    key: str
    path: tuple[str, ...]
    says: str
    control: Control
    is_required: bool
    description: str = ""
    default: str = ""
    """JSON text; empty: none."""
    choices: tuple[str, ...] = ()
    """JSON texts."""
    is_text: bool = False
    step: str = "any"

    @property
    def name(self) -> str:
        """How the path reads; a payload that is one value has none."""
        return ".".join(self.path) or "payload"


def fields(schema: Schema | None, *, deepest: int = _DEEPEST) -> tuple[Field, ...]:
    """Return the fields of a payload in order; without a schema, one that takes any JSON."""
    if schema is None:
        schema = {}
    found = list(_walk(_Book(schema, deepest), schema, (), is_required=True))[:_MOST_FIELDS]
    return tuple(
        Field(**{**one.__dict__, "key": f"field-{number}"}) for number, one in enumerate(found)
    )


def compose(shown: Sequence[Field], typed: Callable[[str], str]) -> str | None:
    """Return the payload as JSON text; None for none at all. Raises `Mistyped`."""
    if len(shown) == 1 and not shown[0].path:
        return _value(shown[0], typed(shown[0].key))
    root: dict[str, object] = {}
    for field in shown:
        text = _value(field, typed(field.key))
        if text is None:
            continue
        place = root
        for part in field.path[:-1]:
            inner = place.setdefault(part, {})
            assert isinstance(inner, dict)
            place = inner
        place[field.path[-1]] = msgspec.Raw(text.encode())
    return msgspec.json.encode(root).decode()


def spread(shown: Sequence[Field], payload: JsonValue) -> dict[str, str]:
    """Return what the fields of a form hold for a payload."""
    found: dict[str, str] = {}
    for field in shown:
        value: JsonValue = payload
        for part in field.path:
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            continue
        if field.is_text and isinstance(value, str):
            found[field.key] = value
        else:
            found[field.key] = json.dumps(value, ensure_ascii=False)
    return found


def example(schema: Schema | None) -> JsonValue:
    """Return a payload that the contract allows, as far as one can tell."""
    return None if schema is None else _example(_Book(schema), schema, 0)


def says(schema: Schema) -> str:
    """Return in words what a schema takes."""
    return _says(_Book(schema), schema)


class _Book:
    """Where `$ref`s lead, and how deep objects are opened."""

    def __init__(self, root: Schema, deepest: int = _DEEPEST) -> None:
        self.deepest = deepest
        found = root.get("$defs")
        self._defs = found if isinstance(found, dict) else {}

    def open(self, schema: JsonValue) -> tuple[Schema, bool]:
        """Return what a schema really says, and whether null is allowed beside it."""
        may_be_null = False
        for _ in range(2 * _DEEPEST + 2):
            if not isinstance(schema, dict):
                return {}, may_be_null
            ref, every, one_of = (schema.get(name) for name in ("$ref", "allOf", "anyOf"))
            if isinstance(ref, str):
                found = self._defs.get(ref.rpartition("/")[2])
                own = {name: value for name, value in schema.items() if name != "$ref"}
                schema = {**found, **own} if isinstance(found, dict) else {}
            elif isinstance(every, list) and len(every) == 1:
                schema = every[0]
            elif isinstance(one_of, list):
                others = [one for one in one_of if one != {"type": "null"}]
                may_be_null = may_be_null or len(others) < len(one_of)
                if len(others) != 1:
                    return {**schema, "anyOf": others}, may_be_null
                own = {name: value for name, value in schema.items() if name != "anyOf"}
                inner = others[0]
                schema = {**inner, **own} if isinstance(inner, dict) else {}
            else:
                return schema, may_be_null
        return {}, may_be_null


def _walk(
    book: _Book, given: JsonValue, path: tuple[str, ...], *, is_required: bool
) -> Sequence[Field]:
    schema, may_be_null = book.open(given)
    properties = schema.get("properties")
    required = schema.get("required")
    must = set(map(str, required)) if isinstance(required, list) else set()
    is_given = not path or (is_required and not may_be_null)
    if isinstance(properties, dict) and properties and is_given and len(path) < book.deepest:
        return [
            field
            for name, inner in properties.items()
            for field in _walk(book, inner, (*path, name), is_required=name in must)
        ]
    choices = _choices(schema)
    kind = schema.get("type")
    form = str(schema.get("format", ""))
    default = schema.get("default")
    return [
        Field(
            key="",
            path=path,
            says=_says(book, schema) + (" or nothing" if may_be_null else ""),
            control=_control(schema, choices),
            is_required=is_required and "default" not in schema and bool(path),
            description=str(schema.get("description") or ""),
            default="" if "default" not in schema else json.dumps(default, ensure_ascii=False),
            choices=choices,
            is_text=kind == "string" and not choices and form != "binary",
            step="1" if kind == "integer" else "any",
        )
    ]


def _control(schema: Schema, choices: Sequence[str]) -> Control:
    if choices:
        return "choice"
    kind = schema.get("type")
    if kind == "string":
        longest = schema.get("maxLength")
        if schema.get("format") == "date":
            return "date"
        return "long" if isinstance(longest, int) and longest > _LONG_CHARS else "text"
    return _CONTROLS.get(str(kind), "json")


def _choices(schema: Schema) -> tuple[str, ...]:
    given = schema.get("enum")
    values = given if isinstance(given, list) else [schema["const"]] if "const" in schema else []
    return tuple(json.dumps(value, ensure_ascii=False) for value in values)


def _says(book: _Book, given: JsonValue) -> str:
    schema, _ = book.open(given)
    kind = schema.get("type")
    one_of = schema.get("anyOf") or schema.get("oneOf")
    if choices := _choices(schema):
        said = choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    elif isinstance(one_of, list):
        said = " or ".join(dict.fromkeys(_says(book, one) for one in one_of))
    elif kind == "array":
        inner = _says(book, schema["items"]) if "items" in schema else "anything"
        said = f"list of {inner}{_between(schema, 'minItems', 'maxItems', ' items')}"
    elif kind == "object":
        values = schema.get("additionalProperties")
        said = str(schema.get("title") or "object")
        if isinstance(values, dict):
            said = f"map of text to {_says(book, values)}"
    elif kind == "string":
        said = _FORMATS.get(str(schema.get("format", "")), "text")
        if pattern := schema.get("pattern"):
            said += f" like {pattern}"
        said += _between(schema, "minLength", "maxLength", " characters")
    elif isinstance(kind, str):
        said = _WORDS.get(kind, kind) + _between(schema, "minimum", "maximum", "")
    else:
        said = "anything"
    return said


def _between(schema: Schema, least: str, most: str, unit: str) -> str:
    low, high = schema.get(least), schema.get(most)
    if low is not None and high is not None:
        return f", {low} to {high}{unit}"
    if low is not None:
        return f", {low} or more{unit}"
    return f", at most {high}{unit}" if high is not None else ""


def _value(field: Field, typed: str) -> str | None:
    """Return what was typed as JSON text; None: leave it out. Raises `Mistyped`."""
    text = typed if field.control == "long" else typed.strip()
    if not text:
        if field.is_required:
            raise Mistyped(f"{field.name} is required: {field.says}")
        return None
    if field.is_text:
        return json.dumps(text, ensure_ascii=False)
    if not is_json(text):
        raise Mistyped(f"{field.name} is not JSON: {field.says}; a text needs quotes")
    return text


def _example(book: _Book, given: JsonValue, depth: int) -> JsonValue:
    schema, may_be_null = book.open(given)
    examples = schema.get("examples")
    given_ones: list[JsonValue] = [
        *([schema["default"]] if "default" in schema else ()),
        *(examples if isinstance(examples, list) else ()),
        *(json.loads(choice) for choice in _choices(schema)),
    ]
    if given_ones:
        return given_ones[0]
    if may_be_null or depth > 2 * _DEEPEST:
        return None
    kind = schema.get("type")
    if kind == "object":
        return _example_object(book, schema, depth)
    least = schema.get("minimum")
    plain: dict[str, JsonValue] = {
        "array": [],
        "boolean": False,
        "integer": least if isinstance(least, int) else 1,
        "number": least if isinstance(least, int | float) else 1,
        "string": _EXAMPLES.get(str(schema.get("format", "")), "text"),
    }
    return plain.get(str(kind))


def _example_object(book: _Book, schema: Schema, depth: int) -> JsonValue:
    properties, required = schema.get("properties"), schema.get("required")
    must = required if isinstance(required, list) else []
    inner = properties if isinstance(properties, dict) else {}
    return {name: _example(book, one, depth + 1) for name, one in inner.items() if name in must}
