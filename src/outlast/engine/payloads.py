"""Texts that callers send: sizes, depth, and what PostgreSQL or JSON cannot hold."""

from collections.abc import Mapping, Sequence

import msgspec

from outlast.protocol.nesting import MAX_DEPTH, is_too_deep
from outlast.protocol.triggers import Refusal

JSON = "application/json"
SUPER_JSON = "application/super+json"
TEXT = "text/plain"
TYPES = frozenset({JSON, SUPER_JSON, TEXT})

MAX_PAYLOAD_BYTES = 3 * 1024 * 1024
MAX_METADATA_BYTES = 256 * 1024

_decoder = msgspec.json.Decoder()


class Unfit(Exception):  # noqa: N818 - carries a refusal
    """A text that is not taken; `refusal` is what the caller is told."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def check_payload(text: str, payload_type: str) -> object:
    """Return the value that a payload stands for. Raises `Unfit`.

    Of super+json that is its `json` part: what the official clients wrap around plain JSON.
    """
    if payload_type not in TYPES:
        raise Unfit(
            Refusal(
                422,
                "invalid_payload_type",
                f"payload type must be {JSON}, {SUPER_JSON} or {TEXT}",
                "payloadType",
            )
        )
    data = encode(text, "payload")
    if len(data) > MAX_PAYLOAD_BYTES:
        raise Unfit(Refusal(413, "payload_too_large", "the payload is over 3 MB", "payload"))
    if payload_type == TEXT:
        return text
    value = decode(data, "payload")
    if payload_type == SUPER_JSON:
        if not isinstance(value, dict) or "json" not in value:
            raise Unfit(
                Refusal(422, "invalid_payload", "super+json without a `json` field", "payload")
            )
        inner: object = value["json"]
        return inner
    return value


def check_metadata(text: str) -> None:
    """Hold metadata to its limits: it is stored as jsonb, which knows no U+0000. Raises `Unfit`."""
    data = encode(text, "metadata")
    if len(data) > MAX_METADATA_BYTES:
        raise Unfit(Refusal(413, "metadata_too_large", "metadata is over 256 KB", "metadata"))
    value = decode(data, "metadata")
    if not isinstance(value, dict):
        raise Unfit(Refusal(422, "invalid_metadata", "metadata must be a JSON object", "metadata"))
    if b"\\u0000" in data and _holds_nul(value):
        raise Unfit(
            Refusal(
                422, "invalid_metadata", "metadata cannot hold the character U+0000", "metadata"
            )
        )


def encode(text: str, param: str) -> bytes:
    """Return the text as UTF-8. Raises `Unfit` for what PostgreSQL cannot store."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise Unfit(
            Refusal(422, "invalid_text", f"{param} holds half a surrogate pair", param)
        ) from None
    if b"\0" in data:
        raise Unfit(
            Refusal(422, "invalid_text", f"{param} cannot hold the character U+0000", param)
        )
    return data


def decode(data: bytes, param: str) -> object:
    """Return the value of JSON text. Raises `Unfit`, which never shows the text."""
    if is_too_deep(data):
        raise Unfit(
            Refusal(422, "too_deep", f"{param} is nested deeper than {MAX_DEPTH} levels", param)
        )
    try:
        value: object = _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise Unfit(Refusal(422, "invalid_json", f"{param} is not valid JSON", param)) from None
    return value


def _holds_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_holds_nul(key) or _holds_nul(item) for key, item in value.items())
    if isinstance(value, Sequence):
        return any(_holds_nul(item) for item in value)
    return False
