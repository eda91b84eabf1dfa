"""What a function's signature and type hints say about payload, context and output."""

import dataclasses
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Secret, SecretBytes, SecretStr

from outlast.sdk.context import Context
from outlast.sdk.errors import UsageError

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_SECRETS = (Secret, SecretStr, SecretBytes)


@dataclass(frozen=True, slots=True)
class Shape:
    """Which arguments a task's function takes."""

    payload: str | None  # the parameter's name
    optional: bool  # the payload has a default
    context: bool


def shape(function: Callable[..., object], owner: str) -> Shape:
    """Return the shape of a task's function: `(payload, ctx)` or less."""
    parameters = list(inspect.signature(function).parameters.values())
    if any(parameter.kind in _VARIADIC for parameter in parameters):
        raise UsageError(
            f"{owner} takes *args or **kwargs, which says nothing about its payload; "
            "if a decorator below @task hides the signature, use functools.wraps in it"
        )
    context = any(parameter.name == "ctx" for parameter in parameters)
    rest = [parameter for parameter in parameters if parameter.name != "ctx"]
    needed = [parameter for parameter in rest[1:] if parameter.default is parameter.empty]
    if needed or (rest and rest[0].kind not in _POSITIONAL):
        name = (needed or rest)[0].name
        raise UsageError(
            f"{owner} has a parameter {name!r} that nobody fills; a task takes one payload "
            "(a model, when it needs more fields) and `ctx`"
        )
    if not rest:
        return Shape(None, optional=False, context=context)
    return Shape(rest[0].name, optional=rest[0].default is not rest[0].empty, context=context)


def hints(
    function: Callable[..., object], owner: str, names: dict[str, Any] | None = None
) -> dict[str, object]:
    """Return resolved annotations. `names` are those visible where a nested function was made."""
    try:
        found: dict[str, object] = typing.get_type_hints(
            function, localns=names, include_extras=True
        )
    except NameError as error:
        raise UsageError(
            f"{owner} is annotated with {error.name!r}, which does not exist at run time; "
            "import it outside `if TYPE_CHECKING` "
            "(ruff: runtime-evaluated-decorators = ['outlast.task'])"
        ) from error
    return found


def payload_hint(found: dict[str, object], name: str, owner: str) -> object:
    """Return the annotation of the payload; anything goes without one."""
    annotation = found.get(name, Any)
    if annotation is Context:
        raise UsageError(f"{owner} takes its context as {name!r}; name the parameter `ctx`")
    return annotation


def forbid_secrets(annotation: object, path: str, owner: str) -> None:
    """Raise `UsageError` when a value of the annotation would be stored as asterisks."""
    for found in _secrets(annotation, path, {}):
        raise UsageError(
            f"{found} of {owner} is a pydantic secret, which would be stored as asterisks; "
            "pass a reference and look the secret up inside the task"
        )


def holds_secrets(annotation: object) -> bool:
    """Say whether `forbid_secrets` would raise."""
    return any(True for _ in _secrets(annotation, "", {}))


def _secrets(annotation: object, path: str, seen: dict[int, object]) -> typing.Iterator[str]:
    if id(annotation) in seen:
        return
    seen[id(annotation)] = annotation  # kept, so its id is unique
    if isinstance(annotation, type) and issubclass(annotation, _SECRETS):
        yield path
        return
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return
    if isinstance(origin, type) and issubclass(origin, _SECRETS):
        yield path
        return
    for argument in typing.get_args(annotation):
        yield from _secrets(argument, path, seen)
    for alias in ("__value__", "__supertype__"):
        yield from _secrets(getattr(annotation, alias, None), path, seen)
    for name, field in _fields(annotation):
        yield from _secrets(field, f"{path}.{name}", seen)


def _fields(annotation: object) -> list[tuple[str, object]]:
    if not isinstance(annotation, type):
        return []
    if issubclass(annotation, BaseModel):
        return [(name, field.annotation) for name, field in annotation.model_fields.items()]
    if dataclasses.is_dataclass(annotation) or hasattr(annotation, "__required_keys__"):
        try:
            return list(typing.get_type_hints(annotation).items())
        except NameError:
            return []  # pydantic reports it when it builds the schema
    return []
