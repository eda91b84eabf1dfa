"""Signing in and out, and who asks: the signed cookie of a session holds a user and a tenant."""

import asyncio
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response

from app.crossings import Membership, find_login, find_memberships
from app.web.pages import page

router = APIRouter()
_hasher = PasswordHasher()
# Compared with when the address is unknown, so that knowing takes as long as not knowing.
_NOBODY = _hasher.hash("nobody has this password")


class NotSignedInError(Exception):
    """There is no session, or its user has left the organization."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who asks, and for which organization."""

    user_id: str
    organization: Membership

    @property
    def organization_id(self) -> UUID:
        """The tenant of the request; tasks get it in their payload."""
        return self.organization.organization_id


async def signed_in(request: Request) -> SignedIn:
    """Return who asks. Looked up each time: a membership may end while the session lasts."""
    user_id = str(request.session.get("user", ""))
    memberships = await find_memberships(user_id)
    wanted = request.session.get("organization")
    for membership in memberships:
        if wanted in (None, str(membership.organization_id)):
            return SignedIn(user_id, membership)
    raise NotSignedInError


Caller = Annotated[SignedIn, Depends(signed_in)]


@router.get("/sign-in")
async def ask(request: Request) -> Response:
    """Show the form."""
    return page(request, "sign_in.html", {"failed": False})


@router.post("/sign-in")
async def sign_in(
    request: Request, email: Annotated[str, Form()], password: Annotated[str, Form()]
) -> Response:
    """Begin a session."""
    user_id, password_hash = await find_login(email.strip()) or ("", _NOBODY)
    is_right = await asyncio.to_thread(_matches, password_hash, password)  # slow on purpose
    if not user_id or not is_right:
        return page(request, "sign_in.html", {"failed": True}, status=403)
    request.session.clear()
    request.session["user"] = user_id
    return RedirectResponse("/inspector", 303)


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """End the session."""
    request.session.clear()
    return RedirectResponse("/sign-in", 303)


@router.post("/organization")
async def choose(
    request: Request, caller: Caller, organization_id: Annotated[UUID, Form()]
) -> Response:
    """Work for another organization that the user belongs to."""
    memberships = await find_memberships(caller.user_id)
    if any(one.organization_id == organization_id for one in memberships):
        request.session["organization"] = str(organization_id)
    return RedirectResponse("/inspector", 303)


def _matches(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except VerificationError:
        return False
