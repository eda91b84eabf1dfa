"""Who calls: the key or token of a request, its environment, and what it may do."""

import json
from collections.abc import Collection
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from outlast.engine.database import Executor
from outlast.engine.engine import Engine
from outlast.engine.errors import NotFound, Unauthorized
from outlast.engine.personal_tokens import PREFIX, Holder
from outlast.engine.tenancy import Environment
from outlast.engine.tokens import MAX_TOKEN_CHARS, Token, Tokens
from outlast.protocol.roles import PAGE, SCOPES, Role
from outlast.server.problems import Problem, forbidden, limited, not_found, unauthorized
from outlast.server.rates import ALLOWANCE, Rate
from outlast.server.scopes import reaches, reaches_every
from outlast.server.services import services

REQUEST_KEY = "x-trigger-request-idempotency-key"
_BEARER = "bearer "


@dataclass(frozen=True, kw_only=True)
class Caller:
    """An authenticated caller. Without `scopes` it is a secret key, which may do everything."""

    environment: Environment
    token: Token | None = None
    key_id: str | None = None
    """The secret key or personal token, by its id; None with a public token."""
    role: Role | None = None
    """What the owner of a personal token may; None with anything else."""
    account: str | None = None
    """Who the person is, where one is known: by a personal token, or on a page."""
    is_root: bool = False
    """Whether the secret key is the environment's root key."""

    @property
    def scopes(self) -> tuple[str, ...] | None:
        """What a token is limited to; None: it is a secret key."""
        if self.token is not None:
            return self.token.scopes
        return None if self.role is None else SCOPES[self.role]

    @property
    def actor(self) -> str | None:
        """Who it is, to be noted: an account by name or a key by id; None with other tokens."""
        return self.account or self.key_id

    @property
    def deed_name(self) -> str:
        """Who it is in the audit log, beside the persons that pages note."""
        return "a token" if self.key_id is None else f"key {self.key_id}"

    def require_secret(self) -> None:
        """Let nobody pass but secret keys. Raises `Problem`."""
        if self.scopes is not None:
            raise forbidden()

    def require_admin(self) -> None:
        """Let pass root keys and tokens of admins: others must not make themselves keys.

        Raises `Problem`.
        """
        if not (self.is_root if self.scopes is None else "admin" in self.scopes):
            raise forbidden()

    def may(self, action: str, **resources: Collection[str] | None) -> bool:
        """Return whether the caller may do this to the object; each id counts as it."""
        return self.scopes is None or reaches(self.scopes, action, resources)

    def require_minter(self) -> None:
        """Let nobody pass but secret keys, and runs with the token of their worker.

        What a browser holds must not make itself longer-lived tokens. Raises `Problem`.
        """
        if self.scopes is not None and (self.token is None or self.token.worker is None):
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
        if self.scopes is not None and not reaches_every(self.scopes, action, resource, ids):
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
    credential = _credential(connection)
    if credential.startswith(PREFIX):
        raise unauthorized(
            "a personal access token opens what names its project and environment in the address; "
            "use a key of the environment here"
        )
    engine = services(connection).engine
    if credential.count(".") == 2:  # noqa: PLR2004 - the three parts of a token; keys have no dots
        person = connection.scope.get("extensions", {}).get(PAGE, {}).get("person")
        caller = await _by_token(engine, credential, person)
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


def is_personal(connection: HTTPConnection) -> bool:
    """Return whether a request carries a personal token, valid or not. Raises `Problem`."""
    return _credential(connection).startswith(PREFIX)


async def authenticate_at(connection: HTTPConnection, project: str, slug: str | None) -> Caller:
    """Return who calls an environment that the address names: a personal token may name any.

    None: the address names no environment, which is that of the key. Raises `Problem`.
    """
    if not is_personal(connection):
        caller = await authenticate(connection)
        found = caller.environment
        if project != found.project_ref or slug not in {None, found.slug}:
            raise not_found("Environment" if slug is not None else "Project")
        return caller
    holder = await authenticate_person(connection)
    if slug is None:
        raise Problem(
            422,
            "other_environment",
            "a personal access token sees one environment at a time; name it",
            param="filter[env]",
        )
    try:
        environment = await services(connection).engine.tenancy.environment(project, slug)
    except NotFound:
        raise not_found("Environment") from None
    caller = Caller(
        environment=environment,
        key_id=holder.token_id,
        role=holder.role,
        account=holder.account,
    )
    _count(connection, caller)
    return caller


async def authenticate_person(connection: HTTPConnection) -> Holder:
    """Return whose personal token a request carries. Raises `Problem` for any other credential."""
    holder = await services(connection).engine.users.tokens.open(_credential(connection))
    if holder is None:
        raise unauthorized("Invalid or Missing Access Token")
    return holder


def _credential(connection: HTTPConnection) -> str:
    header = connection.headers.get("authorization", "")
    credential = header[len(_BEARER) :].strip()
    is_bearer = header[: len(_BEARER)].lower() == _BEARER
    if not is_bearer or not 0 < len(credential) <= MAX_TOKEN_CHARS:
        raise unauthorized()
    return credential


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


async def _by_token(engine: Engine, credential: str, account: str | None) -> Caller:
    try:
        token = await engine.tokens.verify(credential)
    except Unauthorized as error:
        raise unauthorized(f"Public Access Token is invalid: {error}") from None
    return Caller(environment=token.environment, token=token, account=account)
