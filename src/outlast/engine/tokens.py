"""Public access tokens: short-lived, scoped, signed with an environment's root key (HS256)."""

import hashlib
import math
import time
from datetime import datetime
from typing import Annotated

import jwt
import msgspec

from outlast.engine.agents import in_portions
from outlast.engine.database import Database, Executor
from outlast.engine.errors import Conflict, EngineError, Unauthorized
from outlast.engine.keys import KEYS, Keys
from outlast.engine.tenancy import Environment, Tenancy

ISSUER = "https://id.trigger.dev"
AUDIENCE = "https://api.trigger.dev"
LEEWAY_SECONDS = 60.0
MAX_SECONDS = 30 * 24 * 3600.0
MAX_TOKEN_CHARS = 8192
USED_ALREADY = "this one-time token was used already"
_PORTION = 500
_REQUIRED = ["exp", "iat", "iss", "aud", "sub", "pub"]


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was found valid: whose it is and what it may do."""

    environment: Environment
    scopes: tuple[str, ...]
    one_time: bool
    skip_columns: tuple[str, ...]
    digest: bytes
    expires_at: float
    worker: str | None = None
    """The worker session that it was lent to, for its runs."""


class _Realtime(msgspec.Struct, frozen=True, rename="camel"):
    skip_columns: tuple[str, ...] = ()


class _Subject(msgspec.Struct, frozen=True):
    sub: str


class _Claims(_Subject, frozen=True):
    pub: bool
    exp: float
    scopes: Annotated[tuple[str, ...], msgspec.Meta(max_length=100)] = ()
    otu: bool = False
    worker: str | None = None
    realtime: _Realtime | None = None


class Tokens:
    """Mints and checks the tokens of all environments."""

    def __init__(self, database: Database, keys: Keys, tenancy: Tenancy) -> None:
        self._database = database
        self._keys = keys
        self._tenancy = tenancy

    @staticmethod
    def claims(environment: Environment) -> dict[str, object]:
        """Return what a caller with a root key signs into its own tokens."""
        return {"sub": environment.id, "pub": True}

    async def mint(
        self,
        environment: Environment,
        scopes: tuple[str, ...],
        *,
        seconds: float = 3600.0,
        one_time: bool = False,
        skip_columns: tuple[str, ...] = (),
        worker: str | None = None,
    ) -> str:
        """Return a token for a browser, or for the runs of a worker; 30 days at most."""
        roots = await self._roots(environment.id)
        now = int(time.time())
        more: dict[str, object] = {}
        if one_time:
            more["otu"] = True
        if worker is not None:
            more["worker"] = worker
        if skip_columns:
            more["realtime"] = {"skipColumns": list(skip_columns)}
        expires = now + int(min(seconds, MAX_SECONDS))
        return self._sign(environment.id, scopes, roots[0], (now, expires), more)

    async def mint_for(
        self, environment_id: str, scopes: tuple[str, ...], *, begins: datetime, ends: datetime
    ) -> str:
        """Return a token that lives as long as what it is for; the same one every time."""
        roots = await self._roots(environment_id)
        lifetime = int(begins.timestamp()), math.ceil(ends.timestamp())
        return self._sign(environment_id, scopes, roots[0], lifetime, {})

    async def verify(self, text: str) -> Token:
        """Return what a token allows. Raises `Unauthorized`, which tells an expired one apart.

        `sub` names the environment; a key in its grace period still checks. Whether a one-time
        token was used already is not looked at here: see `spend`.
        """
        if len(text) > MAX_TOKEN_CHARS:
            raise Unauthorized("the token is too long")
        environment = await self._environment_of(text)
        claims = _check_any(text, await self._keys.roots(environment.id))
        if claims is None:  # signed with a key that was made a moment ago, on another server?
            claims = _check_any(text, await self._keys.roots(environment.id, fresh=True))
        if claims is not None and claims.pub:
            return Token(
                environment=environment,
                scopes=claims.scopes,
                one_time=claims.otu,
                skip_columns=(claims.realtime or _Realtime()).skip_columns,
                digest=hashlib.sha256(text.encode()).digest(),
                expires_at=claims.exp,
                worker=claims.worker,
            )
        raise Unauthorized("the token is not valid")

    async def spend(
        self, token: Token, *, spender: str = "", executor: Executor | None = None
    ) -> None:
        """Use up a one-time token, in the caller's transaction if there is one.

        Triggers use theirs up in the turn. The same `spender` (a request key) may come again.
        Raises `Conflict` on a second use.
        """
        if not token.one_time:
            return
        spent = await (executor or self._database).fetch_value(
            KEYS.spend_token, hash=token.digest, expires_at=token.expires_at, spender=spender
        )
        if spent is None:
            raise Conflict(USED_ALREADY, code="token_used")

    async def prune(self) -> int:
        """Forget used tokens that have expired; return how many."""
        gone = 0

        async def portion() -> bool:
            nonlocal gone
            found = await self._database.execute(KEYS.prune_used_tokens, portion=_PORTION)
            gone += found
            return found == _PORTION

        await in_portions(portion)
        return gone

    async def _roots(self, environment_id: str) -> tuple[str, ...]:
        roots = await self._keys.roots(environment_id)
        if not roots:
            raise EngineError(f"environment {environment_id} has no root key; rotate its keys")
        return roots

    @staticmethod
    def _sign(
        environment_id: str,
        scopes: tuple[str, ...],
        root: str,
        lifetime: tuple[int, int],
        more: dict[str, object],
    ) -> str:
        claims: dict[str, object] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": lifetime[0],
            "exp": lifetime[1],
            "sub": environment_id,
            "pub": True,
            "scopes": list(scopes),
            **more,
        }
        return jwt.encode(claims, root, algorithm="HS256", headers={"typ": None})

    async def _environment_of(self, text: str) -> Environment:
        """Return the environment that a token names, before its signature is checked."""
        try:
            claims = msgspec.convert(
                jwt.decode(text, options={"verify_signature": False}), _Subject
            )
        except (jwt.PyJWTError, msgspec.ValidationError, ValueError, RecursionError):
            raise Unauthorized("the token is malformed") from None
        if "\0" not in claims.sub:
            environment = await self._tenancy.environment_by_id(claims.sub)
            if environment is not None:
                return environment
        raise Unauthorized("the token is not valid")


def _check_any(text: str, roots: tuple[str, ...]) -> _Claims | None:
    """Return the claims, or None when none of the keys signed. Raises `Unauthorized`."""
    for root in roots:
        claims = _check(text, root)
        if claims is not None:
            return claims
    return None


def _check(text: str, root: str) -> _Claims | None:
    """Return the claims, or None when another key signed. Raises `Unauthorized`."""
    try:
        return msgspec.convert(
            jwt.decode(
                text,
                root,
                algorithms=["HS256"],
                audience=AUDIENCE,
                issuer=ISSUER,
                leeway=LEEWAY_SECONDS,
                options={"require": _REQUIRED},
            ),
            _Claims,
        )
    except jwt.InvalidSignatureError:
        return None
    except jwt.ExpiredSignatureError:
        raise Unauthorized("the token has expired", code="token_expired") from None
    except (jwt.PyJWTError, msgspec.ValidationError, ValueError):
        raise Unauthorized("the token is not valid") from None
