"""Which server and key code uses, and tokens for browsers: `auth.create_public_token()`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypedDict, TypeVar

from outlast.client import clients, settings
from outlast.client import tokens as requests
from outlast.client.requests import Request
from outlast.sdk.blocking import check_blocking
from outlast.sdk.durations import Duration, seconds
from outlast.sdk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from outlast.sdk.triggerable import Triggerable

P = ParamSpec("P")
T = TypeVar("T")

Which: TypeAlias = bool | str | Sequence[str]
"""True: every object of the kind; else their ids."""


class Resources(TypedDict, total=False):
    """What a token reaches, by kind."""

    runs: Which
    tasks: Which
    tags: Which
    batch: Which
    waitpoints: Which
    input_streams: Which
    queues: Which
    deployments: Which


class Scopes(TypedDict, total=False):
    """What a token may do to what. Writing to a task includes triggering it."""

    read: Resources
    write: Resources
    trigger: Resources


_KINDS = {name: name for name in Resources.__annotations__} | {"input_streams": "inputStreams"}


def configure(*, api_url: str, secret_key: str) -> None:
    """Use this server and key in the whole process, whatever the environment says."""
    settings.configure(settings.make(api_url, secret_key))


@contextmanager
def using(*, api_url: str, secret_key: str) -> Iterator[None]:
    """Use another server or key inside a `with` block; other tasks and threads are not touched."""
    with settings.using(settings.make(api_url, secret_key)):
        yield


async def create_public_token(
    scopes: Scopes,
    *,
    expires: Duration | datetime = "15m",
    one_time: bool = False,
    skip_columns: Sequence[str] = (),
) -> str:
    """Return a token with which a browser may do what the scopes say, for at most 30 days.

    `one_time`: it can be used for one trigger. `skip_columns`: what realtime feeds leave out.
    Raises `PermissionDeniedError` when the caller may not do it either.
    """
    return await clients.send(_request(scopes, expires, one_time, skip_columns))


def create_public_token_sync(
    scopes: Scopes,
    *,
    expires: Duration | datetime = "15m",
    one_time: bool = False,
    skip_columns: Sequence[str] = (),
) -> str:
    """Blocking `create_public_token`."""
    check_blocking("auth.create_public_token_sync()", "auth.create_public_token()")
    return clients.send_sync(_request(scopes, expires, one_time, skip_columns))


async def create_trigger_public_token(
    task: "Triggerable[Any, Any] | str | Sequence[str]",
    *,
    multiple_use: bool = False,
    expires: Duration | datetime = "15m",
) -> str:
    """Return a token with which a browser may trigger a task, once unless told otherwise."""
    return await clients.send(_trigger("trigger", task, multiple_use, expires))


def create_trigger_public_token_sync(
    task: "Triggerable[Any, Any] | str | Sequence[str]",
    *,
    multiple_use: bool = False,
    expires: Duration | datetime = "15m",
) -> str:
    """Blocking `create_trigger_public_token`."""
    check_blocking("auth.create_trigger_public_token_sync()", "auth.create_trigger_public_token()")
    return clients.send_sync(_trigger("trigger", task, multiple_use, expires))


async def create_batch_trigger_public_token(
    task: "Triggerable[Any, Any] | str | Sequence[str]",
    *,
    multiple_use: bool = False,
    expires: Duration | datetime = "15m",
) -> str:
    """Return a token with which a browser may trigger a batch of a task, once by default."""
    return await clients.send(_trigger("batchTrigger", task, multiple_use, expires))


def create_batch_trigger_public_token_sync(
    task: "Triggerable[Any, Any] | str | Sequence[str]",
    *,
    multiple_use: bool = False,
    expires: Duration | datetime = "15m",
) -> str:
    """Blocking `create_batch_trigger_public_token`."""
    check_blocking(
        "auth.create_batch_trigger_public_token_sync()", "auth.create_batch_trigger_public_token()"
    )
    return clients.send_sync(_trigger("batchTrigger", task, multiple_use, expires))


class Client:
    """One server and key, apart from all others of the process.

    `await client.call(runs.retrieve, run_id)` makes any call of the SDK with them.
    """

    def __init__(self, *, api_url: str, secret_key: str) -> None:
        self._settings = settings.make(api_url, secret_key)

    async def call(
        self, function: "Callable[P, Awaitable[T]]", /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return what a call gives that is made with this server and key."""
        with settings.using(self._settings):
            return await function(*args, **kwargs)


class SyncClient:
    """One server and key, apart from all others of the process; for code that blocks.

    `client.call(runs.retrieve_sync, run_id)` makes any call of the SDK with them.
    """

    def __init__(self, *, api_url: str, secret_key: str) -> None:
        self._settings = settings.make(api_url, secret_key)

    def call(self, function: "Callable[P, T]", /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a call gives that is made with this server and key."""
        with settings.using(self._settings):
            return function(*args, **kwargs)


def _request(
    scopes: Scopes, expires: Duration | datetime, one_time: bool, skip_columns: Sequence[str]
) -> Request[str]:
    words = tuple(_words(scopes))
    if not words:
        raise UsageError('a token without scopes opens nothing; give {"read": {"runs": run_id}}')
    return requests.create(
        words, _expiry(expires), one_time=one_time, skip_columns=tuple(skip_columns)
    )


def _trigger(
    action: str,
    task: "Triggerable[Any, Any] | str | Sequence[str]",
    multiple_use: bool,
    expires: Duration | datetime,
) -> Request[str]:
    tasks = [task] if isinstance(task, str) else task if isinstance(task, Sequence) else [task.id]
    words = tuple(f"{action}:tasks:{one}" for one in tasks)
    return requests.create(words, _expiry(expires), one_time=not multiple_use)


def _words(scopes: Scopes) -> Iterator[str]:
    """Yield the scopes as they stand in a token."""
    for action, resources in scopes.items():
        if action not in Scopes.__annotations__ or not isinstance(resources, dict):
            raise UsageError(f"{action!r} is no scope; give read, write or trigger, and of what")
        for kind, which in resources.items():
            if kind not in _KINDS:
                raise UsageError(f"{kind!r} is nothing that tokens reach; see auth.Resources")
            if isinstance(which, bool):
                if which:
                    yield f"{action}:{_KINDS[kind]}"
                continue
            for one in [which] if isinstance(which, str) else which:
                yield f"{action}:{_KINDS[kind]}:{one}"


def _expiry(expires: Duration | datetime) -> str | int:
    if isinstance(expires, datetime):
        if expires.tzinfo is None:
            raise UsageError("expires is a datetime without a zone; give an aware one")
        return int(expires.timestamp())
    return f"{max(1, round(seconds(expires, 'expires')))}s"
