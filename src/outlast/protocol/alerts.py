"""Bodies of the routes of alerts: who is told when runs fail, errors appear or versions change."""

from typing import Annotated, Literal

from pydantic import Field

from outlast.protocol.body import Body, Moment

AlertType = Literal["alert.run.failed", "alert.error", "alert.deployment.success"]
Channel = Literal["webhook", "slack", "email"]
MAX_NAME_CHARS = 200
MAX_ADDRESS_CHARS = 2000

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
Types = Annotated[tuple[AlertType, ...], Field(min_length=1, max_length=20)]


class AlertBody(Body):
    """An alert of an environment; of its address only what is no secret.

    `waiting` counts what has yet to be told; `lastError` is why that failed the last time.
    """

    id: str
    name: str
    channel: Channel
    address: str
    types: tuple[AlertType, ...]
    enabled: bool
    waiting: int
    last_error: str | None = None
    delivered_at: Moment | None = None
    created_at: Moment
    created_by: str | None = None


class AlertPage(Body):
    """`GET /api/outlast/v1/alerts`, by name."""

    data: tuple[AlertBody, ...]


class NewAlert(Body):
    """`POST /api/outlast/v1/alerts`. `address`: a URL, or of an e-mail alert the recipient."""

    name: Name
    channel: Channel
    address: str = Field(min_length=1, max_length=MAX_ADDRESS_CHARS)
    types: Types


class MadeAlert(AlertBody):
    """A new alert. `secret` signs a webhook's bodies, and is shown this once."""

    secret: str | None = None


class AlertChange(Body):
    """`PUT /api/outlast/v1/alerts/{alert}`: what is left out stays."""

    name: Name | None = None
    types: Types | None = None
    enabled: bool | None = None


class AlertTried(Body):
    """`POST /api/outlast/v1/alerts/{alert}/test`: whether it arrived, or why not."""

    delivered: bool
    error: str | None = None
