"""Steps: local side effects that are recorded once, and not done again by a replay."""

import asyncio
import contextlib
import contextvars
import functools
import hashlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, ParamSpec, TypeVar, cast, overload
from weakref import WeakKeyDictionary

from pydantic_core import PydanticSerializationError, to_json

from outlast.protocol.outcomes import Outcome, RunError
from outlast.sdk import runtime
from outlast.sdk.annotations import hints
from outlast.sdk.blocking import check_blocking
from outlast.sdk.calls import Call
from outlast.sdk.durations import Duration, seconds
from outlast.sdk.errors import AbortTaskRunError, StepError, UsageError
from outlast.sdk.failures import describe
from outlast.sdk.runtime import Runtime
from outlast.sdk.serde import Codec, output_codec
from outlast.sdk.texts import storable

P = ParamSpec("P")
T = TypeVar("T")

MAX_RESULT_BYTES = 10 * 1024 * 1024

_annotations: Final[WeakKeyDictionary[Callable[..., object], object]] = WeakKeyDictionary()
"""What functions of steps return: resolving it takes longer than many a step."""

_Finished = tuple[Outcome, BaseException | None]


class Step(Generic[T]):
    """`step` with options. `type` is what the result is read back as, else `fn`'s annotation."""

    __slots__ = ("_timeout", "_type")

    def __init__(self, timeout: float | None = None, type: object = None) -> None:  # noqa: A002
        self._timeout: Final = timeout
        self._type: Final = type

    def __call__(
        self, name: str, fn: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[T]:
        """Return the call of a step, to be awaited."""
        return Call(f"step {name}", self._prepare(name, fn, args, kwargs))

    def sync(self, name: str, fn: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do a step in a `def` task; `fn` is a plain function, called on this thread."""
        if inspect.iscoroutinefunction(fn):
            raise UsageError(f"step {name}: {_name(fn)} is async; use `await step(...)`")
        if self._timeout is not None:
            raise UsageError(f"step {name}: a plain call cannot be timed out; use `await step()`")
        run = runtime.current()
        if run is None:
            return cast("T", fn(*args, **kwargs))
        check_blocking("step_sync()", "step()")
        codec = self._codec(name, fn)
        key = run.reserve("step", storable(name, "a step's name"))
        digest = _digest(args, kwargs)
        found = run.recall_sync(key, "step", name, digest)
        cause: BaseException | None = None
        if found is None:
            with run.step(key):
                outcome, cause = _finish_sync(name, codec, functools.partial(fn, *args, **kwargs))
            found = run.record_sync(key, "step", name, digest, outcome)
        return cast("T", _read(name, codec, found, cause))

    def _prepare(
        self, name: str, fn: Callable[..., object], args: Any, kwargs: Any
    ) -> Callable[[], Any]:
        body = functools.partial(fn, *args, **kwargs)
        run = runtime.current()
        if run is None:
            return lambda: self._execute(body, None)
        key = run.reserve("step", storable(name, "a step's name"))
        return lambda: self._drive(run, key, name, body)

    async def _drive(
        self, run: Runtime, key: str, name: str, body: functools.partial[object]
    ) -> object:
        codec = self._codec(name, body.func)
        digest = _digest(body.args, body.keywords)
        found = await run.recall(key, "step", name, digest)
        cause: BaseException | None = None
        if found is None:
            with run.step(key):
                outcome, cause = await self._finish(run, name, codec, body)
            found = await run.record(key, "step", name, digest, outcome)
        return _read(name, codec, found, cause)

    async def _finish(
        self, run: Runtime, name: str, codec: Codec[Any], body: functools.partial[object]
    ) -> _Finished:
        try:
            return _success(name, codec, await self._execute(body, run))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the step's result
            return _failure(error)

    async def _execute(self, body: functools.partial[object], run: Runtime | None) -> object:
        if self._timeout is None:
            return await _call(body, run)
        async with asyncio.timeout(self._timeout):
            return await _call(body, run)

    def _codec(self, name: str, fn: Callable[..., object]) -> Codec[Any]:
        declared = self._type
        return output_codec(
            lambda: _annotation(fn, name) if declared is None else declared, f"step {name}"
        )


class PlainStep(Step[Any]):
    """`step` itself: typed by the function it is given."""

    __slots__ = ()

    @overload
    def __call__(
        self, name: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[T]: ...
    @overload
    def __call__(
        self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[T]: ...
    def __call__(
        self, name: str, fn: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> Call[Any]:
        """Do `fn(*args, **kwargs)` once: recorded exactly once, executed at least once.

        What comes back is read from its stored JSON, on the first pass as on a replay, through the
        return annotation of `fn`. A failure is a `StepError` both times. A plain function runs in a
        thread. `ctx.step.token` makes the effect happen once where the vendor honours such keys.
        Outside a run it is a plain call.
        """
        return super().__call__(name, fn, *args, **kwargs)

    @overload
    def options(self, *, type: type[T], timeout: Duration | None = None) -> Step[T]: ...
    @overload
    def options(self, *, type: object = None, timeout: Duration | None = None) -> Step[Any]: ...
    def options(self, *, type: object = None, timeout: Duration | None = None) -> Step[Any]:  # noqa: A002
        """Return `step` with options: what to read the result as, and when to give up."""
        limit = None if timeout is None else seconds(timeout, "timeout")
        return Step(timeout=limit, type=type)


step: Final = PlainStep()


def step_sync(name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Do a step in a `def` task; blocking twin of `step`."""
    return cast("T", step.sync(name, fn, *args, **kwargs))


async def _call(body: functools.partial[object], run: Runtime | None) -> object:
    if inspect.iscoroutinefunction(body.func):
        return await cast("Awaitable[object]", body())
    call = functools.partial(contextvars.copy_context().run, body)
    if run is None:
        result = await asyncio.get_running_loop().run_in_executor(None, call)
    else:
        result = await run.in_thread(call)
    return await result if inspect.isawaitable(result) else result


def _finish_sync(name: str, codec: Codec[Any], body: functools.partial[object]) -> _Finished:
    try:
        return _success(name, codec, body())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the step's result
        return _failure(error)


def _success(name: str, codec: Codec[Any], value: object) -> _Finished:
    text = codec.encode(value)
    if len(text) > MAX_RESULT_BYTES:
        raise UsageError(
            f"the result of step {name} is over {MAX_RESULT_BYTES >> 20} MB; store it and return a "
            "reference"
        )
    return Outcome(ok=True, value=text), None


def _failure(error: Exception) -> _Finished:
    return Outcome(ok=False, error=describe(error)), error


def _read(name: str, codec: Codec[Any], outcome: Outcome, cause: BaseException | None) -> object:
    if outcome.ok:
        return None if outcome.value is None else codec.decode(outcome.value)
    error = outcome.error or RunError(kind="system", type="Unknown", message="no error recorded")
    if error.kind == "aborted":
        raise AbortTaskRunError(error.message) from cause
    raise StepError(
        f"step {name} failed: {error.type}: {error.message}", error=error, step=name
    ) from cause


def _annotation(fn: Callable[..., object], name: str) -> object:
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(fn, type):
        return fn
    plain = getattr(fn, "__func__", fn)  # a bound method is made anew each time it is looked up
    try:
        return _annotations[plain]
    except (KeyError, TypeError):  # TypeError: has no hash, or cannot be referred to weakly
        pass
    try:
        found = hints(fn, f"step {name}").get("return", Any)
    except TypeError:  # a builtin or a callable object: nothing is declared
        found = Any
    with contextlib.suppress(TypeError):
        _annotations[plain] = found
    return found


def _digest(args: tuple[object, ...], kwargs: dict[str, object]) -> str:
    """Return a digest of arguments. What has no JSON counts by its type: its text may change."""
    digest = hashlib.blake2b(digest_size=8)
    for part in (*args, *(item for pair in sorted(kwargs.items()) for item in pair)):
        try:
            digest.update(to_json(part))
        except (PydanticSerializationError, ValueError, TypeError):
            digest.update(type(part).__qualname__.encode())
        digest.update(b"\0")
    return digest.hexdigest()


def _name(fn: Callable[..., object]) -> str:
    return getattr(fn, "__qualname__", repr(fn))
