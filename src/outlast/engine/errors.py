"""What the engine raises; the server's table of problems maps each to a response.

```
EngineError(.code)
├─ Unauthorized       the key or token is not valid; says nothing about why
├─ NotFound           no such object in this environment
├─ Conflict           the object is not in a state that allows this
├─ InvalidRequest     the request itself is wrong; .param names the field
├─ Refused            admission said no; .refusal is the typed answer
├─ Unavailable        the database cannot be used now; nothing is known to be wrong with the request
│   ├─ ConnectionLost   it went away in the middle: whether a commit happened is unknown
│   └─ Contention       deadlock, serialisation, lock or statement timeout: surely not committed
├─ Overloaded         too many callers wait; .retry_after seconds
├─ SchemaMismatch     this code and the database's schema do not fit together
└─ StatementFailed    PostgreSQL refused a statement; .sqlstate
    └─ BadData          because of a value in it: repeating does not help
```
"""

from outlast.protocol.triggers import Refusal


class EngineError(Exception):
    """Anything the engine raises on purpose; `code` is stable and machine readable."""

    code = "engine_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class Unauthorized(EngineError):  # noqa: N818 - the tree reads better without the suffix
    """The key or token does not open anything here."""

    code = "unauthorized"


class NotFound(EngineError):  # noqa: N818
    """There is no such object in this environment."""

    code = "not_found"


class Conflict(EngineError):  # noqa: N818
    """The object is in a state that does not allow this."""

    code = "conflict"


class InvalidRequest(EngineError):  # noqa: N818
    """The request is wrong by itself; `param` names the field."""

    code = "invalid_request"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message, code=code)
        self.param = param


class Refused(EngineError):  # noqa: N818
    """A typed 'no' with everything the caller is told."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message, code=refusal.code)
        self.refusal = refusal


class Unavailable(EngineError):  # noqa: N818
    """The database cannot be used now."""

    code = "database_unavailable"


class ConnectionLost(Unavailable):
    """The connection went away in the middle; whether a commit happened is unknown."""


class Contention(Unavailable):
    """Deadlock, serialisation failure or timeout; the transaction surely did not commit."""

    code = "database_busy"


class Overloaded(EngineError):  # noqa: N818
    """Too many callers wait already; try again after `retry_after` seconds."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SchemaMismatch(EngineError):  # noqa: N818
    """This code and the schema of the database do not fit together."""

    code = "schema_mismatch"


class StatementFailed(EngineError):  # noqa: N818
    """PostgreSQL refused a statement; `sqlstate` says why."""

    code = "statement_failed"

    def __init__(self, message: str, *, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class BadData(StatementFailed):
    """PostgreSQL refused a value; the same statement with it will always fail."""

    code = "bad_data"
