"""Who calls: the key or token of a request, its environment, and what it may do."""

import json
from collections.abc import Collection
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from outlast.engine.database import Executor
from outlast.engine.engine import Engine
from outlast.engine.errors import Unauthorized
from outlast.engine.tenancy import Environment
from outlast.engine.tokens import MAX_TOKEN_CHARS, Token, Tokens
from outlast.protocol.roles import PAGE
from outlast.server.problems import forbidden, limited, unauthorized
from outlast.server.rates import ALLOWANCE, Rate
from outlast.server.scopes import reaches, reaches_every
from outlast.server.services import services

REQUEST_KEY = "x-trigger-request-idempotency-key"
_BEARER = "bearer "


@dataclass(frozen=True, kw_only=True)
class Caller:
    """An authenticated caller. Without a `token` it is a secret key, which may do everything."""

    environment: Environment
    token: Token | None = None
    key_id: str | None = None
    """The secret key, by its id; None with a token."""
    is_root: bool = False
    """Whether the secret key is the environment's root key."""

    def require_secret(self) -> None:
        """Let nobody pass but secret keys. Raises `Problem`."""
        if self.token is not None:
            raise forbidden()

    def require_admin(self) -> None:
        """Let pass root keys and tokens of admins: others must not make themselves keys.

        Raises `Problem`.
        """
        if not (self.is_root if self.token is None else "admin" in self.token.scopes):
            raise forbidden()

    def may(self, action: str, **resources: Collection[str] | None) -> bool:
        """Return whether the caller may do this to the object; each id counts as it."""
        return self.token is None or reaches(self.token.scopes, action, resources)

    def require_minter(self) -> None:
        """Let nobody pass but secret keys, and runs with the token of their worker.

        What a browser holds must not make itself longer-lived tokens. Raises `Problem`.
        """
        if self.token is not None and self.token.worker is None:
            raise forbidden()

    def require_whole(self, action: str) -> None:
        """Let pass who may do this to everything: keys, and tokens of the dashboard's roles.

        Raises `Problem`.
        """
        self.require(action)

    def require(self, action: str, **resources: Collection[str] | None) -> None:
        """Let pass who may do this to the object; each id counts as it. Raises `Problem`."""
        if not self.may(action, **resources):
            raise forbidden()

    def require_every(self, action: str, resource: str, ids: Collection[str]) -> None:
        """Let pass who may do this to all of the objects. Raises `Problem`."""
        if self.token is None:
            return
        if not reaches_every(self.token.scopes, action, resource, ids):
            raise forbidden()

    async def spend(
        self, request: HTTPConnection, engine: Engine, executor: Executor | None = None
    ) -> None:
        """Use up a one-time token, if that is what the caller came with.

        In the transaction of `executor`, if given. The same request may come again.
        """
        if self.token is not None:
            spender = request.headers.get(REQUEST_KEY, "")
            await engine.tokens.spend(self.token, spender=spender, executor=executor)

    async def token_headers(
        self, engine: Engine, scopes: tuple[str, ...], seconds: float
    ) -> dict[str, str]:
        """Return the headers that let a browser follow what was just made.

        Always sent: keys of the `_sk_` kind cannot sign for themselves.
        """
        skipped = self.token.skip_columns if self.token is not None else ()
        minted = await engine.tokens.mint(
            self.environment, scopes, seconds=seconds, skip_columns=skipped
        )
        return {
            "x-trigger-jwt": minted,
            "x-trigger-jwt-claims": json.dumps(
                {**Tokens.claims(self.environment), "scopes": list(scopes)}
            ),
        }


async def authenticate(connection: HTTPConnection) -> Caller:
    """Return who calls. Raises `Problem` for a key or token that opens nothing."""
    header = connection.headers.get("authorization", "")
    if header[: len(_BEARER)].lower() != _BEARER:
        raise unauthorized()
    credential = header[len(_BEARER) :].strip()
    if not credential or len(credential) > MAX_TOKEN_CHARS:
        raise unauthorized()
    engine = services(connection).engine
    if credential.count(".") == 2:  # noqa: PLR2004 - the three parts of a token; keys have no dots
        caller = await _by_token(engine, credential)
    else:
        opened = await engine.tenancy.open_key(credential)
        if opened is None:
            raise unauthorized()
        caller = Caller(
            environment=opened.environment,
            key_id=opened.key_id,
            is_root=opened.kind == "root",
        )
    _count(connection, caller)
    return caller


def _count(connection: HTTPConnection, caller: Caller) -> None:
    """Count a request against the limit of its key or token. Raises `Problem`.

    Pages ask for several things each time that they are looked at: nobody counts those.
    """
    if PAGE in connection.scope.get("extensions", {}):
        return
    found, environment = services(connection), caller.environment
    if environment.rate_per_minute is not None and environment.rate_burst is not None:
        rate = Rate(environment.rate_per_minute, environment.rate_burst)
    elif found.settings.rate_limit is not None:
        rate = found.settings.rate_limit
    else:
        return
    if connection.scope["type"] == "websocket":
        return  # one per worker, for hours
    key = caller.key_id if caller.token is None else caller.token.digest.hex()
    allowance = found.rates.take(str(key), rate)
    connection.scope[ALLOWANCE] = allowance
    if allowance.wait:
        raise limited(
            allowance.wait,
            limit=allowance.limit,
            detail=f"this key may make {rate.per_minute} requests a minute",
        )


async def _by_token(engine: Engine, credential: str) -> Caller:
    try:
        token = await engine.tokens.verify(credential)
    except Unauthorized as error:
        raise unauthorized(f"Public Access Token is invalid: {error}") from None
    return Caller(environment=token.environment, token=token)
