"""A call that a task makes: its place in the journal is taken at once, it is sent when awaited."""

import warnings
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Protocol, TypeVar, overload

from outlast.sdk.errors import UsageError

T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")
U_co = TypeVar("U_co", covariant=True)


class Unwrappable(Protocol[U_co]):
    """Something that holds an output or the error that stood in its way."""

    def unwrap(self) -> U_co:
        """Return the output or raise the error."""


class Call(Coroutine[Any, Any, T_co]):
    """A coroutine whose call is already reserved, so that `gather` and `TaskGroup` may take it.

    One that is never awaited does nothing, and warns like a forgotten coroutine.
    """

    def __init__(self, name: str, start: Callable[[], Coroutine[Any, Any, T_co]]) -> None:
        self.__name__ = self.__qualname__ = name
        self._start = start
        self._coroutine: Coroutine[Any, Any, T_co] | None = None
        self._taken = False

    def __repr__(self) -> str:
        return f"<Call {self.__name__}>"

    def unwrap(self: "Call[Unwrappable[U]]") -> "Call[U]":
        """Return a call that gives the output itself, and raises when there is none."""
        self._taken = True
        return Call(self.__name__, lambda: _unwrap(self))

    def __await__(self) -> Generator[Any, Any, T_co]:
        return self._driven().__await__()

    def send(self, value: Any, /) -> Any:
        """Drive the call, as an event loop does."""
        return self._driven().send(value)

    @overload
    def throw(
        self, typ: type[BaseException], val: object = ..., tb: TracebackType | None = ..., /
    ) -> Any: ...
    @overload
    def throw(
        self, typ: BaseException, val: None = ..., tb: TracebackType | None = ..., /
    ) -> Any: ...
    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None, /) -> Any:
        """Raise an error inside the call."""
        error = typ if isinstance(typ, BaseException) else val
        if not isinstance(error, BaseException):
            error = typ() if val is None else typ(val)
        return self._driven().throw(error.with_traceback(tb) if tb is not None else error)

    def close(self) -> None:
        """Give the call up without a warning."""
        self._taken = True
        if self._coroutine is not None:
            self._coroutine.close()

    def _driven(self) -> Coroutine[Any, Any, T_co]:
        if self._coroutine is None:
            if self._taken:
                raise UsageError(f"{self.__name__} was unwrapped or closed before; call it again")
            self._taken = True
            self._coroutine = self._start()
        return self._coroutine

    def __del__(self) -> None:
        if not getattr(self, "_taken", True):
            warnings.warn(
                f"{self.__name__} was never awaited, so it did nothing: await it, or use its "
                "_sync twin",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )


async def _unwrap(call: Call[Unwrappable[U]]) -> U:
    call._taken = False  # noqa: SLF001 - its own class; unwrap() handed it over to here
    return (await call).unwrap()
