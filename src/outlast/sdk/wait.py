"""Waits that hold no process: a run gives its slot back and goes on days later, anywhere."""

import calendar
from datetime import datetime, timedelta
from typing import Any, TypedDict, TypeVar, Unpack, overload

from outlast.protocol import messages
from outlast.protocol.outcomes import Outcome
from outlast.protocol.waitpoints import ListedToken, TokenDetail
from outlast.sdk import durations, idempotency, waitpoints
from outlast.sdk.blocking import check_blocking
from outlast.sdk.calls import Call
from outlast.sdk.durations import Duration
from outlast.sdk.errors import UsageError, WaitTimeoutError, run_error
from outlast.sdk.inside import required
from outlast.sdk.options import unknown
from outlast.sdk.results import Result
from outlast.sdk.runtime import Runtime
from outlast.sdk.waitpoints import (
    WaitpointToken,
    complete_token,
    complete_token_sync,
    create_token,
    create_token_sync,
    list_tokens,
    list_tokens_sync,
    retrieve_token,
    retrieve_token_sync,
)

__all__ = [
    "ListedToken",
    "TokenDetail",
    "WaitpointToken",
    "complete_token",
    "complete_token_sync",
    "create_token",
    "create_token_sync",
    "for_",
    "for_sync",
    "for_token",
    "for_token_sync",
    "list_tokens",
    "list_tokens_sync",
    "retrieve_token",
    "retrieve_token_sync",
    "sleep",
    "sleep_sync",
    "until",
    "until_sync",
]

T = TypeVar("T")


class WaitOptions(TypedDict, total=False):
    """Options of waits. With an idempotency key a wait ends when the first one with it does."""

    timeout: Duration
    idempotency_key: idempotency.Key
    idempotency_key_ttl: Duration


class ForOptions(WaitOptions, total=False):
    """How long to wait, in parts. Months and years are those of the calendar, in UTC."""

    years: int
    months: int
    weeks: float
    days: float
    hours: float
    minutes: float
    seconds: float


_PARTS = ("weeks", "days", "hours", "minutes", "seconds")
_MONTHS = 12


def for_(duration: Duration | None = None, **options: Unpack[ForOptions]) -> Call[None]:
    """Wait for a duration, counted by the server's clock from the first time the code comes here.

    `await wait.for_("1h30m")`, `await wait.for_(days=1)`. With a `timeout` that is shorter it
    raises `WaitTimeoutError`.
    """
    run = required("wait.for_()", "use asyncio.sleep() elsewhere")
    return _wait(run, _for(run, duration, options))


def for_sync(duration: Duration | None = None, **options: Unpack[ForOptions]) -> None:
    """Blocking `for_`, for `def` tasks."""
    check_blocking("wait.for_sync()", "wait.for_()")
    run = required("wait.for_sync()", "use time.sleep() elsewhere")
    _read(run.resolve_sync(_for(run, duration, options)))


def until(
    when: datetime, *, raise_if_past: bool = False, **options: Unpack[WaitOptions]
) -> Call[None]:
    """Wait until a moment, which must be aware. One that has passed is no wait at all."""
    run = required("wait.until()", "use asyncio.sleep() elsewhere")
    return _wait(run, _until(run, when, options, raise_if_past=raise_if_past))


def until_sync(
    when: datetime, *, raise_if_past: bool = False, **options: Unpack[WaitOptions]
) -> None:
    """Blocking `until`, for `def` tasks."""
    check_blocking("wait.until_sync()", "wait.until()")
    run = required("wait.until_sync()", "use time.sleep() elsewhere")
    _read(run.resolve_sync(_until(run, when, options, raise_if_past=raise_if_past)))


sleep = for_
"""The same as `for_`, under the name that `asyncio` gives it."""
sleep_sync = for_sync


@overload
def for_token(
    token: WaitpointToken | str, *, type: type[T], timeout: Duration | None = None
) -> Call[Result[T]]: ...
@overload
def for_token(
    token: WaitpointToken | str, *, type: object = Any, timeout: Duration | None = None
) -> Call[Result[Any]]: ...
def for_token(
    token: WaitpointToken | str,
    *,
    type: object = Any,  # noqa: A002 - what the data is read as
    timeout: Duration | None = None,
) -> Call[Result[Any]]:
    """Wait until a token is completed; a token that is completed already is no wait.

    `(await wait.for_token(token, type=Approval)).output`, or `.unwrap()` on the call. A token that
    timed out, or a `timeout` that passed, is a result with a `WaitpointTimeoutError`. Raises
    `NotFoundError` for a token of another environment, `OutputError` for data of another type.
    """
    run = required("wait.for_token()", "look at wait.retrieve_token() elsewhere")
    call = waitpoints.waiting(run, token, timeout)

    async def drive() -> Result[Any]:
        return waitpoints.completed(await run.resolve(call), token, type)

    return Call("wait.for_token", drive)


@overload
def for_token_sync(
    token: WaitpointToken | str, *, type: type[T], timeout: Duration | None = None
) -> Result[T]: ...
@overload
def for_token_sync(
    token: WaitpointToken | str, *, type: object = Any, timeout: Duration | None = None
) -> Result[Any]: ...
def for_token_sync(
    token: WaitpointToken | str,
    *,
    type: object = Any,  # noqa: A002
    timeout: Duration | None = None,
) -> Result[Any]:
    """Blocking `for_token`, for `def` tasks."""
    check_blocking("wait.for_token_sync()", "wait.for_token()")
    run = required("wait.for_token_sync()", "look at wait.retrieve_token_sync() elsewhere")
    outcome = run.resolve_sync(waitpoints.waiting(run, token, timeout))
    return waitpoints.completed(outcome, token, type)


def _wait(run: Runtime, call: messages.Call) -> Call[None]:
    async def drive() -> None:
        _read(await run.resolve(call))

    return Call(f"wait.{call.name.partition('[')[0]}", drive)


def _for(run: Runtime, duration: Duration | None, options: ForOptions) -> messages.Call:
    _check(options, ForOptions, "wait.for_()")
    months = _MONTHS * options.get("years", 0) + options.get("months", 0)
    parts = timedelta(**{name: options[name] for name in _PARTS if name in options})  # type: ignore[literal-required]  # names of the TypedDict
    if duration is not None and (parts or months):
        raise UsageError("give wait.for_() a duration or its parts, not both")
    length = durations.seconds(parts if duration is None else duration, "the wait")
    if not months:
        return _call(run, "for", options, seconds=length)
    end = _months_later(run.context.now(), months) + timedelta(seconds=length)
    return _call(run, "for", options, until=end.timestamp())


def _until(
    run: Runtime, when: datetime, options: WaitOptions, *, raise_if_past: bool
) -> messages.Call:
    _check(options, WaitOptions, "wait.until()")
    at = durations.moment(when, "wait.until()")
    if raise_if_past and when < run.context.now():  # the same answer on replay
        raise UsageError(f"wait.until() was given a moment in the past: {when.isoformat()}")
    return _call(run, "until", options, until=at)


def _call(
    run: Runtime,
    name: str,
    options: WaitOptions | ForOptions,
    *,
    seconds: float | None = None,
    until: float | None = None,
) -> messages.Call:
    given, ttl, timeout = (
        options.get("idempotency_key"),
        options.get("idempotency_key_ttl"),
        options.get("timeout"),
    )
    key = None if given is None else str(idempotency.resolve(given))
    if key is not None:
        name = f"{name}[{key[:16]}]"
    return messages.Call(
        key=run.reserve("wait", name),
        kind="wait",
        name=name,
        seconds=seconds,
        until=until,
        timeout=None if timeout is None else durations.seconds(timeout, "timeout"),
        idempotency_key=key,
        idempotency_key_ttl=None if ttl is None else durations.seconds(ttl, "idempotency_key_ttl"),
    )


def _check(options: WaitOptions | ForOptions, known: type, call: str) -> None:
    for name in options:
        if name not in known.__annotations__:
            raise unknown(name, known.__annotations__, call)


def _months_later(moment: datetime, months: int) -> datetime:
    """Return the same day so many months later, or the last one of a month that is shorter."""
    years, month = divmod(moment.month - 1 + months, _MONTHS)
    year = moment.year + years
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


def _read(outcome: Outcome) -> None:
    error = outcome.error
    if outcome.ok or error is None:
        return
    if error.kind == "timed_out":
        raise WaitTimeoutError(error.message or "the wait took longer than its timeout")
    raise run_error(error)
