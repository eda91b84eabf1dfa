"""`retry`: try a block of a task, or an HTTP request, again without a new attempt of the run."""

import asyncio
import functools
import importlib
import inspect
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast, overload

from outlast import backoff
from outlast.sdk import runtime, wait
from outlast.sdk.errors import AbortTaskRunError, StepError
from outlast.sdk.retry import Retry
from outlast.sdk.steps import step, step_sync

__all__ = [
    "AsyncClient",
    "AsyncTransport",
    "Client",
    "Headers",
    "HttpRetry",
    "ResetFormat",
    "Transport",
    "block",
    "on_throw",
    "on_throw_sync",
]

if TYPE_CHECKING:
    from outlast.sdk.http_retry import (
        AsyncClient,
        AsyncTransport,
        Client,
        Headers,
        HttpRetry,
        ResetFormat,
        Transport,
    )
else:

    def __getattr__(name: str) -> object:
        """Load the HTTP clients when they are used: httpx costs a tenth of a second."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module("outlast.sdk.http_retry"), name)


P = ParamSpec("P")
T = TypeVar("T")

_USUAL: Final = Retry()


@overload
async def on_throw(
    fn: Callable[[], Awaitable[T]], policy: Retry = ..., *, name: str | None = ...
) -> T: ...
@overload
async def on_throw(fn: Callable[[], T], policy: Retry = ..., *, name: str | None = ...) -> T: ...
async def on_throw(
    fn: Callable[[], Any], policy: Retry = _USUAL, *, name: str | None = None
) -> Any:
    """Call `fn` until it succeeds, as a step each time; between the tries the run waits.

    What succeeded is recorded: a replay and a later attempt of the run do not do it again. The
    waits are `wait.for_()`, so they hold no slot and survive a crash. At the end the last
    `StepError` is raised; a later attempt of the run then tries once more. Errors in
    `policy.give_up_on` and `AbortTaskRunError` are not tried again. Outside a run the original
    error is raised, and the waits are `asyncio.sleep`.
    """
    return await _tried(policy, name or _name(fn), fn, (), {})


def on_throw_sync(fn: Callable[[], T], policy: Retry = _USUAL, *, name: str | None = None) -> T:
    """Blocking `on_throw`, for `def` tasks."""
    return cast("T", _tried_sync(policy, name or _name(fn), fn, (), {}))


def block(
    policy: Retry = _USUAL, *, name: str | None = None
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make every call of a function an `on_throw`: `@retry.block(Retry(max_attempts=5))`."""

    def decorate(fn: Callable[P, T]) -> Callable[P, T]:
        called = name or _name(fn)
        if inspect.iscoroutinefunction(fn):

            @functools.wraps(fn)
            async def again(*args: P.args, **kwargs: P.kwargs) -> object:
                return await _tried(policy, called, fn, args, kwargs)

            return cast("Callable[P, T]", again)

        @functools.wraps(fn)
        def again_sync(*args: P.args, **kwargs: P.kwargs) -> T:
            return cast("T", _tried_sync(policy, called, fn, args, kwargs))

        return again_sync

    return decorate


async def _tried(
    policy: Retry,
    name: str,
    fn: Callable[..., object],
    args: tuple[object, ...],
    kwargs: dict[str, Any],
) -> object:
    inside = runtime.current() is not None
    for failures in count(1):
        try:
            return await step(name, fn, *args, **kwargs)
        except Exception as error:
            pause = _pause(policy, failures, error, inside=inside)
            if pause is None:
                raise
        await (wait.for_(pause) if inside else asyncio.sleep(pause))
    raise AssertionError


def _tried_sync(
    policy: Retry,
    name: str,
    fn: Callable[..., object],
    args: tuple[object, ...],
    kwargs: dict[str, Any],
) -> object:
    inside = runtime.current() is not None
    for failures in count(1):
        try:
            return step_sync(name, fn, *args, **kwargs)
        except Exception as error:
            pause = _pause(policy, failures, error, inside=inside)
            if pause is None:
                raise
        (wait.for_sync if inside else time.sleep)(pause)
    raise AssertionError


def _pause(policy: Retry, failures: int, error: Exception, *, inside: bool) -> float | None:
    """Return the seconds until the next try; None: the error stands.

    Inside a run only a failed step is tried again: every other error says that the call is wrong.
    """
    if isinstance(error, AbortTaskRunError) or (inside and not isinstance(error, StepError)):
        return None
    if policy.gives_up_on(error):
        return None
    return backoff.delay(policy.policy(), failures)


def _name(fn: Callable[..., object]) -> str:
    return getattr(fn, "__name__", type(fn).__name__)
