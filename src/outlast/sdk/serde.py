"""Python values to JSON text and back, by their annotation. Nothing is lost silently.

The one module where `Any` is at home. Errors name the path of a field and its rule, never a value.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar, cast

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic_core import ErrorDetails, PydanticSerializationError

from outlast.protocol import misfits
from outlast.sdk.annotations import forbid_secrets, holds_secrets
from outlast.sdk.errors import OutlastError, OutputError, PayloadError, UsageError

T = TypeVar("T")

JSON = "application/json"
SUPERJSON = "application/super+json"
TEXT = "text/plain"

_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", hide_input_in_errors=True)


_SUSPECT = re.compile(rb"null|NaN|Infinity")
"""What a number that JSON cannot carry may have become."""

_SHOWN = frozenset({"any", "int", "str", "bool", "none"})
"""Kinds of pydantic schemas that write down a value as it is."""
_SCALARS = frozenset({str, int, bool, type(None)})

_PLAIN_KINDS = (
    "bool bytes dataclass dataclass-args dataclass-field date datetime decimal default "
    "definitions definition-ref dict enum float frozenset int list literal model model-field "
    "model-fields none nullable set str tagged-union time timedelta tuple typed-dict "
    "typed-dict-field union url uuid"
)
_CLOSED = frozenset(_PLAIN_KINDS.split())
"""Kinds of pydantic schemas that hold nothing but what they say."""


class Codec(Generic[T]):
    """Encodes and decodes values of one annotation.

    `subject` begins the paths in errors ("payload"), `owner` says whose it is ("task hello"),
    `advice` what to do about a value that does not fit.
    The annotation is a thunk, because names may not exist yet while a module is imported.
    """

    def __init__(
        self,
        annotation: Callable[[], object],
        *,
        subject: str,
        owner: str,
        error: type[OutlastError],
        advice: str = "",
    ) -> None:
        self._annotation = annotation
        self._subject = subject
        self._owner = owner
        self._error = error
        self._advice = advice
        self._form: _Form | None = None

    @property
    def adapter(self) -> TypeAdapter[Any]:
        """The pydantic adapter. Raises `UsageError` for an annotation that has no JSON form."""
        return self._known().adapter

    def _known(self) -> "_Form":
        # not a cached_property: that one takes a lock, and codecs of steps live for one call
        if self._form is None:
            self._form = self._find()
        return self._form

    def _find(self) -> "_Form":
        annotation = self._annotation()
        try:
            form = _form(annotation)
        except TypeError:  # unhashable annotation: Annotated with a list, for example
            form = _build(annotation)
        except PydanticSchemaGenerationError as error:
            raise UsageError(
                f"{self._subject} of {self._owner} is annotated {annotation!r}, which has no JSON "
                "form; use a pydantic model, a dataclass, a TypedDict or plain types"
            ) from error
        except (PydanticUserError, PydanticUndefinedAnnotation) as error:
            raise UsageError(
                f"{self._subject} of {self._owner} is annotated {annotation!r}, which pydantic "
                f"cannot use: {error.message}"
            ) from error
        if form.has_secrets:
            forbid_secrets(annotation, self._subject, self._owner)
        return form

    def encode(self, value: object) -> str:
        """Return a value as JSON text that decodes to an equal value."""
        form = self._known()
        try:
            value = form.adapter.validate_python(value)
            text = form.adapter.dump_json(value, by_alias=True, round_trip=True, warnings="error")
        except ValidationError as error:
            raise self._misfit(error) from None
        except PydanticSerializationError as error:
            raise self._error(
                f"{self._subject} of {self._owner} has no JSON form: {_rule(error)}"
            ) from None
        if form.shows_all and _is_plain(value):
            return text.decode()
        if not self._evidently_faithful(value, text):
            self._check(value)
        return text.decode()

    def decode(self, text: str | None) -> T:
        """Return the value that JSON text stands for; None without any text."""
        if text is None:
            return self.validate(None)
        try:
            value: T = self.adapter.validate_json(text)
        except ValidationError as error:
            raise self._misfit(error) from None
        return value

    def validate(self, value: object) -> T:
        """Return a plain value as one of the annotation."""
        try:
            validated: T = self.adapter.validate_python(value)
        except ValidationError as error:
            raise self._misfit(error) from None
        return validated

    def schema(self) -> str | None:
        """Return the JSON Schema as text; None when anything goes or no schema can say it."""
        try:
            schema = self.adapter.json_schema(mode="validation", by_alias=True)
        except PydanticUserError:
            return None
        return json.dumps(schema) if schema else None  # in the order of the code, as forms show it

    def _evidently_faithful(self, value: object, text: bytes) -> bool:
        """Tell from the text alone that nothing was lost: most values, in a tenth of the time."""
        if not self._known().keys_are_text or _SUSPECT.search(text):
            return False
        try:
            return text == self.adapter.dump_json(
                value, by_alias=True, round_trip=True, serialize_as_any=True, warnings="none"
            )
        except PydanticSerializationError:
            return False

    def _check(self, value: object) -> None:
        tree = self.adapter.dump_python(value, by_alias=True, round_trip=True, warnings="none")
        for problem in _unfaithful(tree, self._subject):
            raise self._error(f"{self._owner}: {problem}")
        try:
            whole = self.adapter.dump_python(
                value, by_alias=True, round_trip=True, serialize_as_any=True, warnings="none"
            )
        except PydanticSerializationError:
            return  # serializers that need their declared type: the first dump stands
        for path in _lost(tree, whole, self._subject) if tree != whole else ():
            raise self._error(
                f"{self._owner}: {path} would be lost: the value is of a subclass with fields that "
                "the annotation does not know; annotate with the subclass or a union"
            )

    def _misfit(self, error: ValidationError) -> OutlastError:
        problems = (
            _problem(self._subject, problem)
            for problem in error.errors(include_url=False, include_context=False)
        )
        advice = f"; {self._advice}" if self._advice else ""
        return self._error(f"{self._owner}: {misfits.told(problems)}{advice}")


def payload_codec(annotation: Callable[[], object], owner: str) -> Codec[Any]:
    """Return the codec of a task's payload."""
    return Codec(
        annotation,
        subject="payload",
        owner=owner,
        error=PayloadError,
        advice="correct it where the run is triggered, or the annotation in the task's function",
    )


def output_codec(annotation: Callable[[], object], owner: str) -> Codec[Any]:
    """Return the codec of what a task or step returns."""
    return Codec(
        annotation,
        subject="output",
        owner=owner,
        error=OutputError,
        advice="return what the annotation says, or change it",
    )


def decode_packet(codec: Codec[T], text: str | None, kind: str, owner: str) -> T:
    """Return the payload that came as text of a type: JSON, superjson or plain text."""
    if text is None or kind == JSON or not kind:
        return codec.decode(text)
    if kind == TEXT:
        return codec.validate(text)
    if kind == SUPERJSON:
        return codec.decode(json.dumps(_plain(text, owner)))
    raise PayloadError(f"{owner}: payload type {kind!r} is unknown; send application/json")


@dataclass(frozen=True, slots=True)
class _Form:
    """What is found out once about an annotation."""

    adapter: TypeAdapter[Any]
    shows_all: bool  # nothing is lost of what is made of what JSON knows
    has_secrets: bool
    keys_are_text: bool


@lru_cache(maxsize=1024)
def _form(annotation: Any) -> _Form:
    return _build(annotation)


def _build(annotation: Any) -> _Form:
    adapter = _adapter(annotation)
    schema = adapter.core_schema
    return _Form(
        adapter,
        shows_all=schema.get("type") in _SHOWN and "serialization" not in schema,
        has_secrets=holds_secrets(annotation),
        keys_are_text=_only_text_keys(schema),
    )


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=_CONFIG)
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(annotation)  # models, dataclasses and TypedDicts bring their own


def _is_plain(value: object) -> bool:
    """Tell whether a value that has JSON text is made of what JSON itself knows."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is float:
        return math.isfinite(cast("float", value))
    if kind is list:
        return all(_is_plain(part) for part in cast("list[object]", value))
    if kind is dict:
        members = cast("dict[object, object]", value)
        return all(type(key) is str and _is_plain(part) for key, part in members.items())
    return False


def _only_text_keys(schema: Any) -> bool:
    """Tell whether no value of a schema can have a key that is no text."""
    if isinstance(schema, list | tuple):
        return all(_only_text_keys(part) for part in schema)
    if not isinstance(schema, dict):
        return True
    kind = schema.get("type")
    if isinstance(kind, str):
        if kind not in _CLOSED:
            return False
        if kind == "dict" and schema.get("keys_schema", {}).get("type") != "str":
            return False
    return all(
        _only_text_keys(part) for name, part in schema.items() if name not in ("metadata", "ref")
    )


def _plain(text: str, owner: str) -> object:
    """Return the plain tree of superjson; `undefined` fields are left out."""
    try:
        packet = json.loads(text)
    except ValueError as error:
        raise PayloadError(f"{owner}: payload is not superjson: {error}") from None
    if not isinstance(packet, dict):
        return packet
    tree = packet.get("json")
    meta = packet.get("meta") or {}
    values = meta.get("values") if isinstance(meta, dict) else None
    for path, tags in values.items() if isinstance(values, dict) else ():
        if isinstance(tags, list) and tags and tags[0] == "undefined":
            _remove(tree, path.replace("\\.", "\0").split("."))
    return tree


def _remove(tree: object, keys: list[str]) -> None:
    for key in keys[:-1]:
        name = key.replace("\0", ".")
        if isinstance(tree, dict):
            tree = tree.get(name)
        elif isinstance(tree, list) and name.isdigit() and int(name) < len(tree):
            tree = tree[int(name)]
    if isinstance(tree, dict):
        tree.pop(keys[-1].replace("\0", "."), None)


def _unfaithful(tree: object, path: str) -> Iterator[str]:
    """Yield what JSON would change: numbers that are none, keys that are no text."""
    if isinstance(tree, float):
        if not math.isfinite(tree):
            yield f"{path} is not a finite number, which JSON cannot carry"
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            if not isinstance(key, str):
                yield f"{path} has a key that is no text ({type(key).__name__}); use str keys"
            else:
                yield from _unfaithful(value, f"{path}.{key}")
    elif isinstance(tree, list | tuple | set | frozenset):
        for index, value in enumerate(tree):
            yield from _unfaithful(value, f"{path}[{index}]")


def _lost(tree: object, whole: object, path: str) -> Iterator[str]:
    """Yield the paths that only the duck-typed dump has."""
    if isinstance(tree, dict) and isinstance(whole, dict):
        for key, value in whole.items():
            if key not in tree:
                yield f"{path}.{key}"
            else:
                yield from _lost(tree[key], value, f"{path}.{key}")
    elif isinstance(tree, list | tuple) and isinstance(whole, list | tuple):
        for index, (one, other) in enumerate(zip(tree, whole, strict=False)):
            yield from _lost(one, other, f"{path}[{index}]")


def _problem(subject: str, problem: ErrorDetails) -> str:
    """Return what is wrong at a place. The value is never part of it, only its kind."""
    where = misfits.path(subject, problem["loc"]).replace(".[key]", " (the key)")
    if problem["type"] == "missing":
        return f"{where} is missing"
    rule = problem["msg"].removeprefix("Input should be ")
    if rule == problem["msg"]:
        return f"{where}: {rule}"
    return f"{where} must be {rule}, not {misfits.kind(problem['input'])}"


def _rule(error: PydanticSerializationError) -> str:
    """Return the first line of an error without the values pydantic appends."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[1] if len(lines) > 1 else lines[0]
    return text.split(" [input_value=")[0]
