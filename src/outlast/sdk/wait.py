"""Waits that hold no process: a run gives its slot back and goes on days later, anywhere."""

from datetime import datetime, timedelta

from outlast.protocol import messages
from outlast.protocol.outcomes import Outcome
from outlast.sdk import durations
from outlast.sdk.blocking import check_blocking
from outlast.sdk.calls import Call
from outlast.sdk.durations import Duration
from outlast.sdk.errors import UsageError, WaitTimeoutError, run_error
from outlast.sdk.inside import required
from outlast.sdk.runtime import Runtime


def for_(
    duration: Duration | None = None,
    *,
    timeout: Duration | None = None,
    weeks: float = 0,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
) -> Call[None]:
    """Wait for a duration, counted by the server's clock from the first time the code comes here.

    `await wait.for_("1h30m")`, `await wait.for_(days=1)`. With a `timeout` that is shorter it
    raises `WaitTimeoutError`.
    """
    parts = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    length = _length(duration, parts)
    run = required("wait.for_()", "use asyncio.sleep() elsewhere")
    return _wait(run, _for(run, length, timeout))


def for_sync(
    duration: Duration | None = None,
    *,
    timeout: Duration | None = None,
    weeks: float = 0,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
) -> None:
    """Blocking `for_`, for `def` tasks."""
    parts = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    length = _length(duration, parts)
    check_blocking("wait.for_sync()", "wait.for_()")
    run = required("wait.for_sync()", "use time.sleep() elsewhere")
    _read(run.resolve_sync(_for(run, length, timeout)))


def until(
    when: datetime, *, raise_if_past: bool = False, timeout: Duration | None = None
) -> Call[None]:
    """Wait until a moment, which must be aware. One that has passed is no wait at all."""
    run = required("wait.until()", "use asyncio.sleep() elsewhere")
    at = _moment(run, when, raise_if_past=raise_if_past)
    return _wait(run, _until(run, at, timeout))


def until_sync(
    when: datetime, *, raise_if_past: bool = False, timeout: Duration | None = None
) -> None:
    """Blocking `until`, for `def` tasks."""
    check_blocking("wait.until_sync()", "wait.until()")
    run = required("wait.until_sync()", "use time.sleep() elsewhere")
    at = _moment(run, when, raise_if_past=raise_if_past)
    _read(run.resolve_sync(_until(run, at, timeout)))


sleep = for_
"""The same as `for_`, under the name that `asyncio` gives it."""
sleep_sync = for_sync


def _wait(run: Runtime, call: messages.Call) -> Call[None]:
    async def drive() -> None:
        _read(await run.resolve(call))

    return Call(f"wait.{call.name}", drive)


def _for(run: Runtime, length: float, timeout: Duration | None) -> messages.Call:
    key = run.reserve("wait", "for")
    return messages.Call(
        key=key, kind="wait", name="for", seconds=length, timeout=_timeout(timeout)
    )


def _until(run: Runtime, at: float, timeout: Duration | None) -> messages.Call:
    key = run.reserve("wait", "until")
    return messages.Call(key=key, kind="wait", name="until", until=at, timeout=_timeout(timeout))


def _timeout(timeout: Duration | None) -> float | None:
    return None if timeout is None else durations.seconds(timeout, "timeout")


def _length(duration: Duration | None, parts: timedelta) -> float:
    if duration is None:
        return durations.seconds(parts, "the wait")
    if parts:
        raise UsageError("give wait.for_() a duration or its parts, not both")
    return durations.seconds(duration, "the wait")


def _moment(run: Runtime, when: datetime, *, raise_if_past: bool) -> float:
    at = durations.moment(when, "wait.until()")
    if raise_if_past and when < run.context.now():  # the same answer on replay
        raise UsageError(f"wait.until() was given a moment in the past: {when.isoformat()}")
    return at


def _read(outcome: Outcome) -> None:
    error = outcome.error
    if outcome.ok or error is None:
        return
    if error.kind == "timed_out":
        raise WaitTimeoutError(error.message or "the wait took longer than its timeout")
    raise run_error(error)
