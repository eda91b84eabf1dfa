"""A visit: somebody asks for a page or does something on it, and what they get for it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlencode

from starlette.requests import Request as WebRequest

from outlast.client.requests import Request
from outlast.dashboard.access import Desk, Form, Person, Place
from outlast.dashboard.api import Api
from outlast.protocol.roles import Role

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Visit:
    """Who asks, where, for what; and the API with their rights."""

    request: WebRequest
    person: Person
    place: Place
    places: tuple[Place, ...]
    csrf: str
    api: Api
    desk: Desk
    form: Form = field(default_factory=lambda: Form(()))

    async def ask(self, request: Request[T]) -> T:
        """Return what the API answers. Raises `ApiError`, which becomes a page of its own."""
        return await self.api(request)

    def path(self, name: str) -> str:
        """Return a part of the path, decoded."""
        found: str = self.request.path_params[name]
        return found

    def query(self, *names: str) -> dict[str, str]:
        """Return what the URL says under these names; what it leaves out or empty is not there.

        A name that is given several times is joined by commas, as lists of the API take it.
        """
        given = self.request.query_params
        found = {name: ",".join(filter(None, given.getlist(name))) for name in names}
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True)
class Page:
    """A template and what it shows: `view` in the template is this object, a frozen dataclass.

    `live`: the blocks of the template that are named `live_…` follow what happens.
    """

    template: str
    view: object
    live: bool = False
    status: int = 200


@dataclass(frozen=True)
class Moved:
    """Where to go after an action, below the environment's base, and what to say there."""

    path: str
    said: str = ""
    failed: bool = False


Show = Callable[[Visit], Awaitable[Page | Moved]]
Act = Callable[[Visit], Awaitable[Page | Moved]]


@dataclass(frozen=True)
class Shown:
    """A page under a path such as `/runs/{run_id}`."""

    path: str
    show: Show
    role: Role = Role.VIEWER


@dataclass(frozen=True)
class Done:
    """An action: a form posts to the path. It is noted in the audit log under its name."""

    path: str
    act: Act
    role: Role = Role.OPERATOR

    @property
    def name(self) -> str:
        """What the audit log calls it."""
        return self.act.__name__.replace("_", " ")


class NotShown(Exception):  # noqa: N818 - a page of its own, not a fault of ours
    """There is nothing to show; the message says why and what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def link(path: str, **query: str | None) -> str:
    """Return a relative link with a query, without what is empty."""
    given = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(given)}" if given else path
