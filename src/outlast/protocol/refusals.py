"""Bodies of answers that refuse a request."""

from outlast.protocol.body import Body


class BrokenRule(Body):
    """Where a request breaks which rule; never what was sent."""

    path: str
    message: str


class ErrorReply(Body):
    """Why a request is refused. `param` names what to change, `details` every broken rule."""

    error: str
    code: str
    type: str | None = None
    param: str | None = None
    details: tuple[BrokenRule, ...] | None = None
    denied_scopes: tuple[str, ...] | None = None


class LimitReply(ErrorReply):
    """Too many requests. `reset`: when to come again, in milliseconds since the epoch."""

    type: str
    title: str
    status: int
    detail: str
    limit: int
    remaining: int
    reset: int
    seconds_until_reset: int
