"""What goes wrong between an app and a server.

The whole tree, with what tasks add to it, is drawn in `outlast.sdk.errors`.
"""

from collections.abc import Mapping


class OutlastError(Exception):
    """Everything that Outlast raises on purpose and that a program may handle."""


class UsageError(OutlastError):
    """The call cannot work as written; the message says what to write instead."""


class SettingsError(UsageError):
    """No server or key is configured, or what is configured cannot be used."""


class TransportError(OutlastError):
    """The server did not answer within the budget of the call.

    The call may have arrived. Repeating it with the same idempotency key is safe.
    """


class ApiError(OutlastError):
    """The server answered with an error."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.headers = dict(headers or {})


class BadRequestError(ApiError):
    """400: the request itself is malformed."""


class AuthenticationError(ApiError):
    """401: no key, or one that the server does not know."""

    def __str__(self) -> str:
        return f"{self.message}; set OUTLAST_SECRET_KEY to a key of this server (outlast keys)"


class PermissionDeniedError(ApiError):
    """403: the key may not do this."""


class NotFoundError(ApiError):
    """404: nothing by that id in this environment."""


class ConflictError(ApiError):
    """409: somebody else is doing it at this moment."""


class UnprocessableError(ApiError):
    """422: understood, and against a rule; `param` names the field."""


class RateLimitError(ApiError):
    """429: too many requests, also after the retries."""


class ServerError(ApiError):
    """500 or above, also after the retries."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableError,
    429: RateLimitError,
}

_SERVER_ERROR = 500


def api_error(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> ApiError:
    """Return the error that a status stands for."""
    cls = _BY_STATUS.get(status, ServerError if status >= _SERVER_ERROR else ApiError)
    return cls(message, status=status, code=code, param=param, headers=headers)
