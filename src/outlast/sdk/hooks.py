"""Hooks: what else happens when a run starts, waits, goes on and ends.

A task has hooks of its own (`@export.on_failure`), `tasks` those of every task
(`@tasks.on_failure`). A hook is a function; it takes what it names among the values of its kind.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar, overload

from outlast.sdk.errors import UsageError

HookKind = Literal[
    "on_worker_boot",
    "middleware",
    "on_start",
    "on_start_attempt",
    "on_wait",
    "on_resume",
    "on_success",
    "catch_error",
    "on_failure",
    "on_complete",
    "on_cancel",
]

_COMMON = frozenset({"payload", "ctx", "task"})

VALUES: Final[Mapping[HookKind, frozenset[str]]] = {
    "on_worker_boot": frozenset(),
    "middleware": _COMMON,
    "on_start": _COMMON,
    "on_start_attempt": _COMMON,
    "on_wait": _COMMON | {"wait"},
    "on_resume": _COMMON | {"wait"},
    "on_success": _COMMON | {"output"},
    "catch_error": _COMMON | {"error", "retry", "retry_at", "retry_in"},
    "on_failure": _COMMON | {"error"},
    "on_complete": _COMMON | {"result"},
    "on_cancel": _COMMON | {"reason"},
}
"""What a hook of each kind may take, by name."""

Acting = Callable[..., Awaitable[None] | None]
Around = Callable[..., AsyncIterator[None]] | Callable[..., Iterator[None]]
Judging = Callable[..., object]

F = TypeVar("F", bound=Callable[..., Any])
ActingT = TypeVar("ActingT", bound=Acting)
AroundT = TypeVar("AroundT", bound=Around)
JudgingT = TypeVar("JudgingT", bound=Judging)


@dataclass(frozen=True, slots=True)
class WaitInfo:
    """What a run waits for: the kind of its first open entry, and the names of all.

    `kind` is "wait" for time, "child" or "batch" for runs, None when the run goes on in a new
    process, where nothing of the wait is left.
    """

    kind: str | None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """How a run ended: `output` if it is `ok`, else `error`."""

    ok: bool
    output: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Hook:
    """One registered function. `label` is its own among all hooks of its task."""

    kind: HookKind
    label: str
    function: Callable[..., Any]
    takes: frozenset[str]

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function or an async generator function."""
        return inspect.iscoroutinefunction(self.function) or inspect.isasyncgenfunction(
            self.function
        )

    def pick(self, values: Mapping[str, object]) -> dict[str, Any]:
        """Return those of the values that the function takes."""
        return {name: values[name] for name in self.takes}

    def __call__(self, values: Mapping[str, object]) -> Any:
        """Call the function with those of the values that it takes."""
        return self.function(**self.pick(values))


class Hooks:
    """The hooks of one task, or of all, in the order of registration."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._hooks: dict[HookKind, tuple[Hook, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def of(self, kind: HookKind) -> tuple[Hook, ...]:
        """Return the hooks of a kind."""
        return self._hooks.get(kind, ())

    def add(self, kind: HookKind, function: Callable[..., Any], name: str | None = None) -> Hook:
        """Register a function. Raises `UsageError` for one that cannot be called."""
        place = f"{kind} hook of {self._owner}"
        takes = _parameters(kind, function, place)
        known = self.of(kind)
        base = f"{self._owner}.{name or getattr(function, '__qualname__', 'hook')}"
        equal = sum(hook.label.partition(" #")[0] == base for hook in known)
        label = base if not equal else f"{base} #{equal + 1}"
        hook = Hook(kind, label, function, takes)
        self._hooks[kind] = (*known, hook)
        return hook


class Registrar(Generic[F]):
    """What `@export.on_failure` is: takes a function, or a name for it and then the function."""

    __slots__ = ("_hooks", "_kind")

    def __init__(self, hooks: Callable[[], Hooks], kind: HookKind) -> None:
        self._hooks = hooks
        self._kind: HookKind = kind

    def _register(self, given: Any) -> Any:
        if not isinstance(given, str):
            self._hooks().add(self._kind, given)
            return given

        def named(function: F) -> F:
            self._hooks().add(self._kind, function, given)
            return function

        return named


class ActingRegistrar(Registrar[Any]):
    """Registers functions that return nothing, `async def` or `def`."""

    __slots__ = ()

    @overload
    def __call__(self, function: ActingT, /) -> ActingT: ...
    @overload
    def __call__(self, name: str, /) -> Callable[[ActingT], ActingT]: ...
    def __call__(self, given: object, /) -> Any:
        """Register a function, or return what registers it under a name."""
        return self._register(given)


class AroundRegistrar(Registrar[Any]):
    """Registers generator functions that yield once: there the rest of the run happens."""

    __slots__ = ()

    @overload
    def __call__(self, function: AroundT, /) -> AroundT: ...
    @overload
    def __call__(self, name: str, /) -> Callable[[AroundT], AroundT]: ...
    def __call__(self, given: object, /) -> Any:
        """Register a function, or return what registers it under a name."""
        return self._register(given)


class JudgingRegistrar(Registrar[Any]):
    """Registers functions that return a verdict on an error."""

    __slots__ = ()

    @overload
    def __call__(self, function: JudgingT, /) -> JudgingT: ...
    @overload
    def __call__(self, name: str, /) -> Callable[[JudgingT], JudgingT]: ...
    def __call__(self, given: object, /) -> Any:
        """Register a function, or return what registers it under a name."""
        return self._register(given)


class Hookable:
    """Whoever has hooks: one decorator for each kind."""

    def _own_hooks(self) -> Hooks:
        raise NotImplementedError

    @property
    def middleware(self) -> AroundRegistrar:
        """Around everything else: a generator that yields once, at every entry into the task."""
        return AroundRegistrar(self._own_hooks, "middleware")

    @property
    def on_start(self) -> ActingRegistrar:
        """Before the first attempt."""
        return ActingRegistrar(self._own_hooks, "on_start")

    @property
    def on_start_attempt(self) -> ActingRegistrar:
        """Before each attempt. What it raises fails the attempt."""
        return ActingRegistrar(self._own_hooks, "on_start_attempt")

    @property
    def on_wait(self) -> ActingRegistrar:
        """Before the run gives its slot back to wait."""
        return ActingRegistrar(self._own_hooks, "on_wait")

    @property
    def on_resume(self) -> ActingRegistrar:
        """Before the run goes on after such a wait."""
        return ActingRegistrar(self._own_hooks, "on_resume")

    @property
    def on_success(self) -> ActingRegistrar:
        """After the function returned. What it raises is logged only."""
        return ActingRegistrar(self._own_hooks, "on_success")

    @property
    def catch_error(self) -> JudgingRegistrar:
        """After an attempt failed: may say whether and when there is another one."""
        return JudgingRegistrar(self._own_hooks, "catch_error")

    @property
    def on_failure(self) -> ActingRegistrar:
        """After the last attempt failed. What it raises is logged only."""
        return ActingRegistrar(self._own_hooks, "on_failure")

    @property
    def on_complete(self) -> ActingRegistrar:
        """After success and after failure. What it raises is logged only."""
        return ActingRegistrar(self._own_hooks, "on_complete")

    @property
    def on_cancel(self) -> ActingRegistrar:
        """After the run was canceled, whatever it did: 30 s, with the time its code unwinds."""
        return ActingRegistrar(self._own_hooks, "on_cancel")


def _parameters(kind: HookKind, function: Any, place: str) -> frozenset[str]:
    if not callable(function) or isinstance(function, type):
        raise UsageError(f"the {place} is a {type(function).__name__}; it must be a function")
    yields = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    if yields != (kind == "middleware"):
        raise UsageError(
            f"the {place} must yield once: there the run happens"
            if kind == "middleware"
            else f"the {place} is a generator; use a plain function, or make it a middleware"
        )
    values = VALUES[kind]
    takes: set[str] = set()
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            takes |= values
        elif parameter.name in values and parameter.kind is not parameter.POSITIONAL_ONLY:
            takes.add(parameter.name)
        elif (
            parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL
        ):
            raise UsageError(
                f"the {place} takes {parameter.name!r}, which nobody fills; it may take "
                + (", ".join(sorted(values)) or "nothing")
            )
    return frozenset(takes)
