"""Waitpoint tokens: make, complete, list and read them."""

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from outlast.client.requests import Reply, Request, model
from outlast.protocol.durations import iso, whole_seconds
from outlast.protocol.messages import MadeToken, NewToken
from outlast.protocol.waitpoints import (
    TOKENS_PATH,
    CreatedToken,
    SuccessReply,
    TokenDetail,
    TokenPage,
)

_encoder = msgspec.json.Encoder()


def create(new: NewToken) -> Request[MadeToken]:
    """Return the request that makes a token."""
    body: dict[str, object | None] = {
        "timeout": iso(new.timeout_at) or whole_seconds(new.timeout),
        "tags": new.tags or None,
        "idempotencyKey": new.idempotency_key,
        "idempotencyKeyTTL": whole_seconds(new.idempotency_key_ttl),
    }
    given = {name: value for name, value in body.items() if value is not None}
    return Request("POST", TOKENS_PATH, _made, body=_encoder.encode(given))


def complete(token_id: str, data: str | None) -> Request[SuccessReply]:
    """Return the request that completes a token. `data` is JSON text; None: no value."""
    body = {} if data is None else {"data": msgspec.Raw(data.encode())}
    path = f"{TOKENS_PATH}/{_part(token_id)}/complete"
    return Request("POST", path, model(SuccessReply), body=_encoder.encode(body))


def retrieve(token_id: str) -> Request[TokenDetail]:
    """Return the request for a token with its output."""
    return Request("GET", f"{TOKENS_PATH}/{_part(token_id)}", model(TokenDetail))


def list_page(filters: Mapping[str, str], *, size: int, after: str | None) -> Request[TokenPage]:
    """Return the request for a page of tokens, newest first; `filters` named as on the wire."""
    query = [(f"filter{name}", value) for name, value in filters.items()]
    query.append(("page[size]", str(size)))
    if after is not None:
        query.append(("page[after]", after))
    return Request("GET", TOKENS_PATH, model(TokenPage), query=tuple(query))


def _made(reply: Reply) -> MadeToken:
    created = CreatedToken.model_validate_json(reply.body)
    return MadeToken(
        id=created.id,
        is_cached=created.is_cached,
        url=created.url,
        public_access_token=reply.headers.get("x-trigger-jwt", ""),
    )


def _part(text: str) -> str:
    return quote(text, safe="")
