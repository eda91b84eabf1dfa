"""Bodies of the routes that keep an environment: its keys, and who did what."""

from typing import Literal

from pydantic import Field

from outlast.protocol.body import Body, Moment
from outlast.protocol.roles import Role


class KeyBody(Body):
    """A key that works now; its secret is never shown again."""

    id: str
    kind: Literal["root", "additional"]
    name: str = ""
    created_at: Moment
    expires_at: Moment | None = None
    last_used_at: Moment | None = None


class KeyList(Body):
    """`GET /api/outlast/v1/keys`."""

    data: tuple[KeyBody, ...]


class KeyCreate(Body):
    """`POST /api/outlast/v1/keys`. `expires` is a duration; without one the key lives for ever."""

    name: str = Field(default="", max_length=64)
    expires: str | None = None


class KeyRotate(Body):
    """`POST /api/outlast/v1/keys/rotate`: how long the present root key goes on working."""

    grace: str = "1d"


class KeyReply(Body):
    """A new key. `secret` is shown this once."""

    id: str
    secret: str


class WhoAmI(Body):
    """`GET /api/v2/whoami`: whose personal token it is, and how far it goes."""

    user_id: str
    email: str
    dashboard_url: str
    role: Role


class DeedBody(Body):
    """What somebody did on a page."""

    id: int
    at: Moment
    account: str
    action: str
    target: str = ""
    outcome: str = ""


class DeedPage(Body):
    """`GET /api/outlast/v1/deeds`, newest first. `next` is the `before` of the following page."""

    data: tuple[DeedBody, ...]
    next: int | None = None
