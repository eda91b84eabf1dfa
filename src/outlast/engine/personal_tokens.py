"""Personal tokens: `tr_pat_…`, a person's own key over all projects, as far as the role goes.

Shown once and stored hashed. Each use asks the database: a token that was revoked, has ended or
whose account lost its role opens nothing more at once, on every server.
"""

import hmac
from datetime import datetime

import msgspec

from outlast.engine.database import Database
from outlast.engine.errors import InvalidRequest, NotFound
from outlast.engine.ids import Ids
from outlast.engine.keys import key_hash, random_text
from outlast.engine.queries import load
from outlast.protocol.roles import Role

PERSONAL_TOKENS = load("personal_tokens")

PREFIX = "tr_pat_"
_CHARS = 40
_MAX_NAME_CHARS = 64
_MAX_CHARS = 256


class NewPersonalToken(msgspec.Struct, frozen=True):
    """A token that was just made; `secret` is never shown again."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"NewPersonalToken(id={self.id!r})"


class PersonalToken(msgspec.Struct, frozen=True):
    """What may be shown of a token later."""

    id: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    """To the minute."""


class Holder(msgspec.Struct, frozen=True):
    """Whose token it is, and what that person may do now."""

    token_id: str
    account_id: str
    account: str
    role: Role


class _Found(Holder, frozen=True, kw_only=True):
    hash: bytes


class _Id(msgspec.Struct, frozen=True):
    id: str


class PersonalTokens:
    """The personal tokens of all accounts."""

    def __init__(self, database: Database, ids: Ids) -> None:
        self._database = database
        self._ids = ids

    async def create(
        self, account: str, name: str = "", *, seconds: float | None = None
    ) -> NewPersonalToken:
        """Make a token for an account, for ever or for so long. Raises `NotFound`."""
        if len(name) > _MAX_NAME_CHARS or not name.isprintable():
            raise InvalidRequest(
                f"a token's name has at most {_MAX_NAME_CHARS} characters", param="name"
            )
        if seconds is not None and seconds <= 0:
            raise InvalidRequest("a token lives for more than 0 s", param="expires")
        secret = PREFIX + random_text(_CHARS)
        made = await self._database.fetch_one(
            _Id,
            PERSONAL_TOKENS.insert_personal_token,
            id=self._ids.new("pat"),
            hash=key_hash(secret),
            account=account,
            name=name,
            seconds=seconds,
        )
        if made is None:
            raise NotFound(f"there is no account {account!r}; `outlast users list` shows all")
        return NewPersonalToken(made.id, secret)

    async def list(self, account: str) -> list[PersonalToken]:
        """Return the tokens of an account that work now, oldest first."""
        return await self._database.fetch(
            PersonalToken, PERSONAL_TOKENS.list_personal_tokens, account=account
        )

    async def revoke(self, account: str, token_id: str) -> None:
        """Delete a token of an account. Raises `NotFound`."""
        if not await self._database.execute(
            PERSONAL_TOKENS.delete_personal_token, account=account, id=token_id
        ):
            raise NotFound(f"{account!r} has no token {token_id!r}")

    async def open(self, secret: str) -> Holder | None:
        """Return whose token this is; None for one that opens nothing."""
        if not secret.startswith(PREFIX) or len(secret) > _MAX_CHARS:
            return None
        wanted = key_hash(secret)
        found = await self._database.fetch_one(
            _Found, PERSONAL_TOKENS.find_personal_token, hash=wanted
        )
        if found is None or not hmac.compare_digest(found.hash, wanted):
            return None
        return Holder(found.token_id, found.account_id, found.account, found.role)
