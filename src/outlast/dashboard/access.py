"""Who looks at a page: sign-ins, cookies, roles and the proof that a form is our own."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from outlast.protocol.roles import Role

COOKIE = "outlast"
COOKIE_SECONDS = 7 * 24 * 3600
CSRF_FIELD = "csrf"
_SECRET_BYTES = 32
_MAX_FIELDS = 5_000


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who is signed in."""

    name: str
    role: Role

    def may(self, role: str) -> bool:
        """Return whether this person may do what a role may; templates ask with its name."""
        return self.role.reaches(Role(role))


@dataclass(frozen=True, kw_only=True)
class Place:
    """An environment that can be looked at."""

    id: str
    project: str
    """The project's ref."""
    project_name: str
    slug: str

    @property
    def base(self) -> str:
        """The path that every page of this environment is below."""
        return f"/env/{self.project}/{self.slug}/"


@dataclass(frozen=True, kw_only=True)
class PersonalToken:
    """A personal token of somebody, without its secret."""

    id: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class Desk(Protocol):
    """What the dashboard needs besides the API; whoever composes the server brings it."""

    @property
    def is_open(self) -> bool:
        """Whether everybody who reaches the server is the admin: only on loopback."""

    @property
    def is_secure(self) -> bool:
        """Whether browsers come by https, so that cookies are never sent without."""

    @property
    def is_stopping(self) -> bool:
        """Whether the server is about to end, and with it every stream."""

    async def places(self) -> Sequence[Place]:
        """Return the environments there are."""

    async def token(self, place: Place, role: Role) -> str:
        """Return a token for the API with the scopes of a role, valid for a minute or more."""

    async def person(self, secret: str) -> Person | None:
        """Return whose sign-in this is."""

    async def log_in(self, name: str, password: str) -> str | None:
        """Return the secret of a new sign-in, or None."""

    async def follow_link(self, code: str) -> str | None:
        """Use a one-time link up; return the secret of a new sign-in, or None."""

    async def log_out(self, secret: str) -> None:
        """End a sign-in."""

    async def personal_tokens(self, person: Person) -> Sequence[PersonalToken]:
        """Return the personal tokens of somebody that work now, oldest first."""

    async def make_personal_token(self, person: Person, name: str, days: int | None) -> str:
        """Make somebody a personal token, for ever or for so long; return its secret."""

    async def revoke_personal_token(self, person: Person, token: str) -> None:
        """Let a personal token of somebody open nothing any more."""

    async def note(
        self, person: Person, place: Place | None, action: str, target: str, outcome: str
    ) -> None:
        """Write what somebody did into the audit log."""


EVERYBODY = Person(name="local", role=Role.ADMIN)
"""Who looks when the server listens on loopback only."""


class Access:
    """Reads and writes the cookie, and knows who it stands for."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._name = f"__Host-{COOKIE}" if desk.is_secure else COOKIE

    async def person(self, request: Request) -> Person | None:
        """Return who looks; None: nobody who is known."""
        if self._desk.is_open:
            return EVERYBODY
        secret = request.cookies.get(self._name)
        return await self._desk.person(secret) if secret else None

    def csrf(self, request: Request) -> str:
        """Return the proof for the forms of a page; see `keep_proof`.

        It is a hash of the cookie, which no other site can read or choose.
        """
        secret = request.cookies.get(self._name)
        if not secret:
            secret = getattr(request.state, "fresh", "") or secrets.token_urlsafe(_SECRET_BYTES)
            request.state.fresh = secret
        return _proof(secret)

    def keep_proof(self, request: Request, response: Response) -> None:
        """Give a browser that has no cookie the one that its forms were made for."""
        if fresh := getattr(request.state, "fresh", ""):
            self.keep(response, fresh)

    def is_ours(self, request: Request, form: "Form") -> bool:
        """Return whether a form was made for the cookie that came with it."""
        secret = request.cookies.get(self._name)
        if not secret:
            return False
        return hmac.compare_digest(_proof(secret).encode(), form.get(CSRF_FIELD).encode())

    def keep(self, response: Response, secret: str) -> None:
        """Give the browser a cookie."""
        response.set_cookie(
            self._name,
            secret,
            max_age=COOKIE_SECONDS,
            path="/",
            secure=self._desk.is_secure,
            httponly=True,
            samesite="strict" if self._desk.is_open else "lax",
        )

    async def forget(self, request: Request, response: Response) -> None:
        """End a sign-in and take the cookie back."""
        if secret := request.cookies.get(self._name):
            await self._desk.log_out(secret)
        response.delete_cookie(self._name, path="/", secure=self._desk.is_secure, httponly=True)


class Form:
    """The fields of a form, as a browser without scripts sends them."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self._fields = tuple(fields)

    @classmethod
    async def read(cls, request: Request) -> "Form":
        """Return the form of a request; one that is malformed has no fields."""
        kind = request.headers.get("content-type", "").partition(";")[0]
        if kind != "application/x-www-form-urlencoded":
            return cls(())
        text = (await request.body()).decode("utf-8", "replace")
        try:
            return cls(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
        except ValueError:
            return cls(())

    def get(self, name: str) -> str:
        """Return the first value of a field, or an empty text."""
        return next((value for key, value in self._fields if key == name), "")

    def every(self, name: str) -> tuple[str, ...]:
        """Return every value of a field: checked boxes of one name."""
        return tuple(value for key, value in self._fields if key == name)


def _proof(secret: str) -> str:
    return hashlib.blake2b(secret.encode(), digest_size=16, person=b"outlast form").hexdigest()
