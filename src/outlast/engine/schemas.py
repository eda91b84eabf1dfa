"""Payload schemas of tasks: compiled without ever fetching, checked without showing the input."""

import logging
from collections.abc import Sequence
from typing import Never

import jsonschema_rs
import msgspec
from jsonschema_rs import ValidationErrorKind

from outlast.protocol import misfits

logger = logging.getLogger(__name__)

MAX_SCHEMA_BYTES = 256 * 1024
_MAX_LOCATION_CHARS = 200
_MAX_RULE_CHARS = 200
_RULES = {
    "type": "must be of type {}",
    "enum": "must be one of {}",
    "const": "must be {}",
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "minProperties": "must have at least {} fields",
    "maxProperties": "must have at most {} fields",
    "pattern": "must match {}",
}
"""Rules whose value, which the task's author wrote, tells what is wanted."""
_UNSAID = {
    "additionalProperties": "has a field that the task does not know",
    "uniqueItems": "has an item twice",
    "anyOf": "is none of what the task takes",
    "oneOf": "is none of what the task takes, or several of it at once",
}


class PayloadCheck:
    """One task's schema, ready to be applied."""

    def __init__(self, validator: jsonschema_rs.Validator, schema: object) -> None:
        self._validator = validator
        self._schema = schema

    def problem(self, value: object) -> str | None:
        """Return what is wrong, place by place, without the value; None when it fits."""
        return (
            misfits.told(self._told(e, value) for e in self._validator.iter_errors(value)) or None
        )

    def _told(self, error: jsonschema_rs.ValidationError, value: object) -> str:
        error = self._narrowed(error)
        where = misfits.path("payload", error.instance_path)[:_MAX_LOCATION_CHARS]
        if isinstance(error.kind, ValidationErrorKind.Required):
            return f"{where}.{error.kind.property} is missing"
        keyword = str(error.schema_path[-1]) if error.schema_path else "false"
        if keyword in _UNSAID:
            return f"{where} {_UNSAID[keyword]}"
        wanted = _at(self._schema, error.schema_path)
        if keyword not in _RULES or wanted is None:
            return f"{where} breaks the rule `{keyword[:_MAX_RULE_CHARS]}`"
        rule = _RULES[keyword].format(msgspec.json.encode(wanted).decode()[:_MAX_RULE_CHARS])
        return f"{where} {rule}, not {misfits.kind(_at(value, error.instance_path))}"

    def _narrowed(self, error: jsonschema_rs.ValidationError) -> jsonschema_rs.ValidationError:
        """Return what an optional value misses of its form; of several forms none is meant."""
        while isinstance(error.kind, ValidationErrorKind.AnyOf):
            forms = [form[0] for form in error.kind.context if form and not self._is_null(form[0])]
            if len(forms) != 1:
                break
            error = forms[0]
        return error

    def _is_null(self, error: jsonschema_rs.ValidationError) -> bool:
        return _at(self._schema, error.schema_path) == "null"


def _at(found: object, path: Sequence[str | int]) -> object:
    """Return what is at a path; None where it leads nowhere."""
    for part in path:
        try:
            found = found[part]  # type: ignore[index]  # what cannot be indexed is caught
        except (TypeError, LookupError):
            return None
    return found


def compile_schema(task: str, text: str | None) -> PayloadCheck | None:
    """Return the check of a task's payloads; None leaves them to the worker.

    A schema that is too large or does not compile is the worker's alone: the task stays usable.
    """
    if text is None:
        return None
    if len(text) > MAX_SCHEMA_BYTES:
        logger.warning("payload schema is over 256 KB, the worker checks it", extra={"task": task})
        return None
    try:
        schema = msgspec.json.decode(text)
        validator = jsonschema_rs.validator_for(
            schema,
            validate_formats=False,
            retriever=_refuse_reference,
            pattern_options=jsonschema_rs.RegexOptions(),  # linear time
        )
    except (
        ValueError,
        RecursionError,
        msgspec.MsgspecError,
        jsonschema_rs.ReferencingError,
    ) as error:
        logger.warning(
            "payload schema does not compile, the worker checks it",
            extra={"task": task, "reason": str(error)[:_MAX_RULE_CHARS]},
        )
        return None
    return PayloadCheck(validator, schema)


def _refuse_reference(uri: str) -> Never:
    """Fetch nothing: a schema comes from a worker, and the server reads no address it names."""
    raise ValueError(f"references outside the schema are not followed: {uri[:_MAX_RULE_CHARS]}")
