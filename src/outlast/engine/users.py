"""People: accounts with roles, how they log in, and the audit log of what they did."""

import asyncio
import hashlib
import secrets
from datetime import datetime
from functools import cache

import argon2
import msgspec

from outlast.engine.database import Database
from outlast.engine.errors import Conflict, InvalidRequest, NotFound
from outlast.engine.ids import Ids
from outlast.engine.personal_tokens import PersonalTokens
from outlast.engine.queries import load
from outlast.protocol.roles import Role

USERS = load("users")

SIGN_IN_SECONDS = 7 * 24 * 3600.0
LINK_SECONDS = 15 * 60.0
MIN_PASSWORD_CHARS = 10
_MAX_PASSWORD_CHARS = 1000
_MAX_NAME_CHARS = 200
_SECRET_BYTES = 32

_hasher = argon2.PasswordHasher()


class User(msgspec.Struct, frozen=True):
    """Somebody with an account."""

    id: str
    name: str
    role: Role
    created_at: datetime


class Deed(msgspec.Struct, frozen=True):
    """One entry of the audit log."""

    id: int
    at: datetime
    account: str
    action: str
    target: str
    outcome: str


class _Password(msgspec.Struct, frozen=True):
    id: str
    password: str
    closed: bool


class _Link(msgspec.Struct, frozen=True):
    id: str
    is_valid: bool


class Users:
    """The accounts of an installation. They are not bound to a project."""

    def __init__(self, database: Database, ids: Ids) -> None:
        self._database = database
        self._ids = ids
        self.tokens = PersonalTokens(database, ids)

    async def add(self, name: str, role: Role, password: str | None = None) -> User:
        """Make an account; without a password only a login link opens it. Raises `Conflict`."""
        if not 0 < len(name) <= _MAX_NAME_CHARS or not name.isprintable():
            raise InvalidRequest(f"a name has 1 to {_MAX_NAME_CHARS} characters", param="name")
        made = await self._database.fetch_one(
            User,
            USERS.insert_account,
            id=self._ids.new("user"),
            name=name,
            role=role,
            password=await _hashed(password),
        )
        if made is None:
            raise Conflict(f"there is an account {name!r} already; `outlast users list` shows all")
        return made

    async def accounts(self) -> list[User]:
        """Return every account, by name."""
        return await self._database.fetch(User, USERS.list_accounts)

    async def find(self, name: str) -> User:
        """Return an account. Raises `NotFound`."""
        found = await self._database.fetch_one(User, USERS.find_account, name=name)
        if found is None:
            raise _missing(name)
        return found

    async def change(
        self, name: str, *, role: Role | None = None, password: str | None = None
    ) -> User:
        """Change a role or password; a new password ends every sign-in. Raises `NotFound`."""
        changed = await self._database.fetch_one(
            User, USERS.change_account, name=name, role=role, password=await _hashed(password)
        )
        if changed is None:
            raise _missing(name)
        if password is not None:
            await self._database.execute(USERS.end_sign_ins, account_id=changed.id)
        return changed

    async def remove(self, name: str) -> None:
        """Delete an account with its sign-ins; its deeds stay. Raises `NotFound`."""
        if not await self._database.execute(USERS.delete_account, name=name):
            raise _missing(name)

    async def log_in(self, name: str, password: str) -> str | None:
        """Return the secret of a new sign-in; None: a wrong name or password, or too many tries."""
        found = await self._database.fetch_one(
            _Password, USERS.find_password, name=name[:_MAX_NAME_CHARS].replace("\0", "")
        )
        nobody = await asyncio.to_thread(_nobody)
        stored = nobody if found is None else found.password
        fits = await asyncio.to_thread(_fits, stored, password)
        if found is None or found.closed:
            return None
        if not fits:
            await self._database.execute(USERS.note_failure, id=found.id)
            return None
        return await self._sign_in(found.id)

    async def make_link(self, name: str, seconds: float = LINK_SECONDS) -> str:
        """Return the code of a link that logs somebody in once. Raises `NotFound`."""
        account = await self.find(name)
        code = secrets.token_urlsafe(_SECRET_BYTES)
        await self._database.execute(
            USERS.insert_link, hash=_digest(code), account_id=account.id, seconds=seconds
        )
        return code

    async def follow_link(self, code: str) -> str | None:
        """Use a link up; return the secret of a new sign-in, None for a used or old link."""
        taken = await self._database.fetch_one(_Link, USERS.take_link, hash=_digest(code))
        return await self._sign_in(taken.id) if taken is not None and taken.is_valid else None

    async def signed_in(self, secret: str) -> User | None:
        """Return whose sign-in this is."""
        return await self._database.fetch_one(User, USERS.find_sign_in, hash=_digest(secret))

    async def log_out(self, secret: str) -> None:
        """End a sign-in."""
        await self._database.execute(USERS.end_sign_in, hash=_digest(secret))

    async def note(
        self, account: str, environment_id: str | None, action: str, target: str, outcome: str
    ) -> None:
        """Write what somebody did into the audit log."""
        await self._database.execute(
            USERS.insert_deed,
            account=account,
            environment_id=environment_id,
            action=action,
            target=target.replace("\0", ""),
            outcome=outcome.replace("\0", ""),
        )

    async def deeds(
        self, environment_id: str, *, limit: int = 50, before: int | None = None
    ) -> list[Deed]:
        """Return what was done in an environment, newest first."""
        return await self._database.fetch(
            Deed, USERS.list_deeds, environment_id=environment_id, limit=limit, before=before
        )

    async def prune(self) -> int:
        """Forget sign-ins, links and personal tokens that are over; return how many sign-ins."""
        return await self._database.execute(USERS.prune_sign_ins)

    async def _sign_in(self, account_id: str) -> str:
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        await self._database.execute(
            USERS.insert_sign_in,
            hash=_digest(secret),
            account_id=account_id,
            seconds=SIGN_IN_SECONDS,
        )
        return secret


async def _hashed(password: str | None) -> str | None:
    if password is None:
        return None
    if not MIN_PASSWORD_CHARS <= len(password) <= _MAX_PASSWORD_CHARS:
        raise InvalidRequest(
            f"a password has {MIN_PASSWORD_CHARS} characters or more", param="password"
        )
    return await asyncio.to_thread(_hasher.hash, password)


@cache
def _nobody() -> str:
    """Return what is checked when there is no such account: the time taken must not tell.

    Made at the first log-in of anybody, for making it takes as long as the start of all the rest.
    """
    return _hasher.hash(secrets.token_hex())


def _fits(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, password[: _MAX_PASSWORD_CHARS + 1])
    except argon2.exceptions.VerificationError:
        return False


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _missing(name: str) -> NotFound:
    return NotFound(f"there is no account {name!r}; `outlast users list` shows all")
