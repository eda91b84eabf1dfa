"""The dashboard beside the API: two siblings that only the command line may join."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain

from fastapi import FastAPI
from starlette.types import ASGIApp

from outlast.dashboard import rendering
from outlast.dashboard.access import Person, PersonalToken, Place
from outlast.dashboard.app import create_dashboard
from outlast.dashboard.visit import NotShown
from outlast.engine.engine import Engine
from outlast.engine.errors import EngineError, InvalidRequest, NotFound, Unavailable
from outlast.engine.expiring import Expiring
from outlast.engine.tenancy import Environment
from outlast.protocol.roles import SCOPES, Role
from outlast.server.app import warm
from outlast.server.services import Services

_TOKEN_SECONDS = 300.0
_TOKEN_KEPT_SECONDS = 120.0
_TOKENS_KEPT = 256
_DAY = 86_400.0


def is_private(host: str) -> bool:
    """Say whether only this machine reaches an address: pages without a login need that."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def dashboard(
    *, is_open: bool, is_secure: bool, environment_id: str | None = None
) -> Callable[[FastAPI], ASGIApp]:
    """Return what builds the pages over an API application.

    `is_open`: nobody logs in. `is_secure`: browsers come by https. `environment_id`: the only
    environment to be seen.
    """

    def build(app: FastAPI) -> ASGIApp:
        services: Services = app.state.services
        desk = ServerDesk(
            services=services,
            is_open=is_open,
            is_secure=is_secure,
            environment_id=environment_id,
            tokens=Expiring(_TOKEN_KEPT_SECONDS, _TOKENS_KEPT),
        )
        app.state.warming = asyncio.create_task(_warm(app))
        return create_dashboard(app, desk)

    return build


async def _warm(app: FastAPI) -> None:
    """Do beside the start what the first requests would wait for, and let others in between."""
    for _ in chain(warm(app), rendering.warm()):
        await asyncio.sleep(0)


@asynccontextmanager
async def _told() -> AsyncIterator[None]:
    """Turn what the engine cannot do into a page that says so."""
    try:
        yield
    except EngineError as error:
        away = isinstance(error, Unavailable)
        said = "the database is not available; try again in a moment" if away else str(error)
        status = 404 if isinstance(error, NotFound) else 503
        raise NotShown(422 if isinstance(error, InvalidRequest) else status, said) from error


@dataclass(frozen=True, kw_only=True)
class ServerDesk:
    """What the dashboard needs besides the API, from the engine of the same process."""

    services: Services
    is_open: bool
    is_secure: bool
    environment_id: str | None
    tokens: Expiring[tuple[str, Role], str]

    @property
    def is_stopping(self) -> bool:
        """Whether the server is about to end."""
        return self.services.stopping.is_set()

    @_told()
    async def places(self) -> Sequence[Place]:
        """Return the environments to be seen, oldest project first."""
        if self.environment_id is not None:
            found = await self._engine.tenancy.environment_by_id(self.environment_id)
            return [] if found is None else [_place(found)]
        return [_place(one) for one in await self._engine.tenancy.environments()]

    @_told()
    async def token(self, place: Place, role: Role) -> str:
        """Return a token with the scopes of a role."""
        kept = self.tokens.get((place.id, role))
        if kept is not None:
            return kept
        found = await self._engine.tenancy.environment_by_id(place.id)
        assert found is not None, f"environment {place.id} went away"
        token = await self._engine.tokens.mint(found, SCOPES[role], seconds=_TOKEN_SECONDS)
        self.tokens.put((place.id, role), token)
        return token

    @_told()
    async def person(self, secret: str) -> Person | None:
        """Return whose sign-in this is."""
        user = await self._engine.users.signed_in(secret)
        return None if user is None else Person(name=user.name, role=user.role)

    @_told()
    async def log_in(self, name: str, password: str) -> str | None:
        """Return the secret of a new sign-in, or None."""
        return await self._engine.users.log_in(name, password)

    @_told()
    async def follow_link(self, code: str) -> str | None:
        """Use a one-time link up; return the secret of a new sign-in, or None."""
        return await self._engine.users.follow_link(code)

    @_told()
    async def log_out(self, secret: str) -> None:
        """End a sign-in."""
        await self._engine.users.log_out(secret)

    @_told()
    async def personal_tokens(self, person: Person) -> Sequence[PersonalToken]:
        """Return the personal tokens of somebody that work now, oldest first."""
        return [
            PersonalToken(
                id=one.id,
                name=one.name,
                created_at=one.created_at,
                expires_at=one.expires_at,
                last_used_at=one.last_used_at,
            )
            for one in await self._engine.users.tokens.list(person.name)
        ]

    @_told()
    async def make_personal_token(self, person: Person, name: str, days: int | None) -> str:
        """Make somebody a personal token, for ever or for so long; return its secret."""
        seconds = None if days is None else days * _DAY
        made = await self._engine.users.tokens.create(person.name, name, seconds=seconds)
        return made.secret

    @_told()
    async def revoke_personal_token(self, person: Person, token: str) -> None:
        """Let a personal token of somebody open nothing any more."""
        await self._engine.users.tokens.revoke(person.name, token)

    @_told()
    async def note(
        self, person: Person, place: Place | None, action: str, target: str, outcome: str
    ) -> None:
        """Write what somebody did into the audit log."""
        where = None if place is None else place.id
        await self._engine.users.note(person.name, where, action, target, outcome)

    @property
    def _engine(self) -> Engine:
        return self.services.engine


def _place(environment: Environment) -> Place:
    return Place(
        id=environment.id,
        project=environment.project_ref,
        project_name=environment.project_name,
        slug=environment.slug,
    )
