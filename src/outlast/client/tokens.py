"""Public access tokens: what a browser may see, signed by the environment's key (HS256)."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence

from outlast.client.requests import Reply, Request
from outlast.protocol.bodies import PublicTokenReply, PublicTokenRequest, Realtime

ISSUER = "https://id.trigger.dev"
AUDIENCE = "https://api.trigger.dev"
"""Fixed in the wire contract, whoever runs the server."""

_HEADER = b'{"alg":"HS256"}'


def create(
    scopes: tuple[str, ...],
    expires: str | int,
    *,
    one_time: bool = False,
    skip_columns: tuple[str, ...] = (),
) -> Request[str]:
    """Return the request for a token; `expires` is a duration or seconds since the epoch."""
    body = PublicTokenRequest(
        scopes=scopes,
        expiration_time=expires,
        one_time_use=one_time,
        realtime=Realtime(skip_columns=skip_columns) if skip_columns else None,
    )
    return Request("POST", "/api/v1/auth/public-tokens", _token, body=body.to_json())


def _token(reply: Reply) -> str:
    return PublicTokenReply.model_validate_json(reply.body).token


def sign(
    claims: Mapping[str, object],
    secret_key: str,
    scopes: Sequence[str],
    now: float,
    lifetime: float,
) -> str:
    """Return a token with these scopes that is valid for `lifetime` seconds."""
    payload = {
        **claims,
        "scopes": list(scopes),
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": int(now),
        "exp": int(now + lifetime),
    }
    signed = _text(_HEADER) + "." + _text(json.dumps(payload, separators=(",", ":")).encode())
    signature = hmac.new(secret_key.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_text(signature)}"


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
