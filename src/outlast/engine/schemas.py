"""Payload schemas of tasks: compiled without ever fetching, checked without showing the input."""

import logging
from typing import Never

import jsonschema_rs
import msgspec

logger = logging.getLogger(__name__)

MAX_SCHEMA_BYTES = 256 * 1024
_MAX_LOCATION_CHARS = 200
_MAX_RULE_CHARS = 200
_QUOTED = frozenset(
    {
        "type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
        "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
        "pattern", "enum", "const", "required",
    }
)  # fmt: skip
"""Keywords whose value, which the task's author wrote, tells the rule."""


class PayloadCheck:
    """One task's schema, ready to be applied."""

    def __init__(self, validator: jsonschema_rs.Validator, schema: object) -> None:
        self._validator = validator
        self._schema = schema

    def problem(self, value: object) -> str | None:
        """Return location and rule of the first violation, None when the value fits."""
        error = next(self._validator.iter_errors(value), None)
        if error is None:
            return None
        location = "".join(f"/{part}" for part in error.instance_path)[:_MAX_LOCATION_CHARS]
        return f"{location or '/'}: {self._rule(error.schema_path)}"

    def _rule(self, path: list[str | int]) -> str:
        keyword = next((str(part) for part in reversed(path) if isinstance(part, str)), "")
        if keyword not in _QUOTED:
            return f"breaks the rule `{keyword}`"
        value = self._at(path)
        told = msgspec.json.encode(value).decode() if value is not None else ""
        return f"breaks the rule `{keyword}` {told[:_MAX_RULE_CHARS]}".rstrip()

    def _at(self, path: list[str | int]) -> object:
        """Return what the schema says at a path; None where a reference led away from it."""
        found = self._schema
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
