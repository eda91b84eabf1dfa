"""What a request needs besides itself: the engine, the links, whether the server is stopping."""

import asyncio
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from outlast.engine.engine import Engine
from outlast.server.links import Links
from outlast.server.notifier import Notifier
from outlast.server.rates import Rates
from outlast.server.realtime.feeds import Feeds
from outlast.server.settings import ServerSettings


@dataclass(frozen=True, kw_only=True)
class Services:
    """The collaborators of every route, made once per application."""

    settings: ServerSettings
    engine: Engine
    links: Links
    feeds: Feeds
    notifier: Notifier
    rates: Rates = field(default_factory=Rates)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


def services(connection: HTTPConnection) -> Services:
    """Return the collaborators of the application that a request belongs to."""
    found: Services = connection.app.state.services
    return found
