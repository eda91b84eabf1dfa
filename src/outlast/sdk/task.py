"""A task: a function with an id, a queue and a policy, which runs in the background."""

import inspect
import json
from collections.abc import Callable
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from outlast.protocol.manifests import ExecutorKind, RetryPolicy, ScheduleManifest, TaskManifest
from outlast.protocol.schedules import TICK
from outlast.sdk.annotations import Shape, hints, payload_hint, shape
from outlast.sdk.context import Context
from outlast.sdk.errors import PayloadError, UsageError
from outlast.sdk.hooks import Hookable, Hooks
from outlast.sdk.queue import Queue
from outlast.sdk.registry import registry
from outlast.sdk.retry import Retry
from outlast.sdk.serde import decode_packet, output_codec, payload_codec
from outlast.sdk.triggerable import In, Out, Triggerable

DEFAULT_MAX_DURATION = 3600.0
"""Seconds of active time an attempt has when nothing else is said."""


class Unset(Enum):
    """Marks an option that was not given, where None means something."""

    UNSET = "unset"


class Missing(Enum):
    """Stands for a payload that was not sent and has a default in the function."""

    MISSING = "missing"


class Task(Triggerable[In, Out], Hookable):
    """What `@task` makes of a function. Made by the decorator only.

    `function` is the plain function, for unit tests.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        id: str,  # noqa: A002 - the word users write
        queue: Queue | None = None,
        retry: Retry | None = None,
        max_duration: float | Unset | None = Unset.UNSET,
        ttl: float | None = None,
        machine: str | None = None,
        description: str = "",
        isolated: bool = False,
        threads: bool = False,
        schedule: ScheduleManifest | None = None,
        names: dict[str, Any] | None = None,
    ) -> None:
        self.id = id
        self.function: Final = function
        self.is_async: Final = inspect.iscoroutinefunction(function)
        self.executor: Final[ExecutorKind] = (
            "shared"
            if threads or (self.is_async and not isolated and machine is None)
            else "dedicated"
        )
        self.queue: Final = queue if queue is None or queue.name else queue.owned_by(id)
        self.policy: Final = retry
        self.max_duration: Final = max_duration
        self.ttl: Final = ttl
        self.machine: Final = machine
        self.schedule: Final = schedule
        self.description: Final = description or inspect.getdoc(function) or ""
        self.hooks: Final = Hooks(id)
        self._names = names
        self._shape: Shape = shape(function, f"task {id}")
        self._payload = payload_codec(self._payload_annotation, f"task {id}")
        self._output = output_codec(self._output_annotation, f"task {id}")

    def __repr__(self) -> str:
        return f"<Task {self.id!r} ({self.place})>"

    if not TYPE_CHECKING:  # a type checker says it earlier: a task is not callable

        def __call__(self, *_: object, **__: object) -> NoReturn:
            """Refuse: a direct call would neither be durable nor in the background."""
            raise UsageError(
                f"task {self.id} cannot be called: use .trigger() to run it in the background, "
                ".trigger_and_wait() inside another task, .function() in a unit test"
            )

    def _own_hooks(self) -> Hooks:
        return self.hooks

    @property
    def place(self) -> str:
        """File, line and name of the function."""
        code = self.function.__code__
        return f"{code.co_filename}:{code.co_firstlineno} {self.function.__qualname__}"

    @property
    def file(self) -> str:
        """The file that declares it."""
        return self.function.__code__.co_filename

    @property
    def queue_name(self) -> str:
        """The queue its runs go through unless the trigger says otherwise."""
        return (self.queue and self.queue.name) or f"task/{self.id}"

    @property
    def retry(self) -> RetryPolicy | None:
        """Its own retry policy; None: the project's default."""
        return self.policy.policy() if self.policy else None

    def check(self) -> None:
        """Resolve the annotations. Raises `UsageError` for one that cannot work.

        Called once all modules are imported: before that a name may not exist yet.
        """
        if self._shape.payload is not None:
            _ = self._payload.adapter
            if self.schedule is not None:
                self._check_tick()
        _ = self._output.adapter

    def _check_tick(self) -> None:
        try:
            self._payload.decode(TICK.model_dump_json(by_alias=True))
        except PayloadError as error:
            raise UsageError(
                f"task {self.id} starts by the clock: let its payload be a ScheduledPayload, or "
                f"take none; {error}"
            ) from None

    def gives_up_on(self, error: BaseException) -> bool:
        """Tell whether this error ends the run whatever attempts are left."""
        return self.policy is not None and self.policy.gives_up_on(error)

    def decode_payload(self, text: str | None, payload_type: str) -> object:
        """Return the payload that the function is called with. Raises `PayloadError`."""
        if self._shape.payload is None:
            return None
        if text is None and self._shape.optional:
            return Missing.MISSING
        if text is None:
            self._need_none()
        return decode_packet(self._payload, text, payload_type, f"task {self.id}")

    def encode_payload(self, payload: object) -> str | None:
        """Return a payload as JSON text; None: the task needs none. Raises `PayloadError`."""
        if self._shape.payload is None:
            if payload is not None:
                raise PayloadError(f"task {self.id} takes no payload; call it without one")
            return None
        if payload is None and self._shape.optional:
            return None
        return super().encode_payload(payload)

    @property
    def takes_context(self) -> bool:
        """Whether the function has a parameter `ctx`."""
        return self._shape.context

    def arguments(
        self, payload: object, context: Context | None
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        """Return what the function is called with. `context` may be None if it takes none."""
        takes_payload = self._shape.payload is not None and payload is not Missing.MISSING
        return (payload,) if takes_payload else (), {"ctx": context} if self._shape.context else {}

    def encode_output(self, value: object) -> str | None:
        """Return what the function returned as JSON text. Raises `OutputError`."""
        text = self._output.encode(value)
        return None if text == "null" else text

    def manifest(
        self,
        default_retry: RetryPolicy | None = None,
        *,
        default_max_duration: float | None = DEFAULT_MAX_DURATION,
        default_ttl: float | None = None,
        root: Path | None = None,
    ) -> TaskManifest:
        """Return the declaration as data. The file is told relative to `root`, the project's."""
        own = self.max_duration
        return TaskManifest(
            id=self.id,
            executor=self.executor,
            file=self._file(root),
            function=self.function.__qualname__,
            queue=self.queue_name,
            description=self.description,
            retry=self.retry or default_retry or RetryPolicy(),
            max_duration=default_max_duration if isinstance(own, Unset) else own,
            ttl=default_ttl if self.ttl is None else self.ttl,
            machine=self.machine,
            payload_schema=self._schema(),
            schedule=self.schedule,
            on_cancel=bool(self.hooks.of("on_cancel") or registry.hooks.of("on_cancel")),
        )

    def _schema(self) -> str | None:
        if self._shape.payload is None:
            return None
        text = self._payload.schema()
        if text is None or not self._shape.optional:
            return text
        schema = json.loads(text)
        return json.dumps({"anyOf": [schema, {"type": "null"}]})

    def _file(self, root: Path | None) -> str:
        path = Path(self.file)
        if root is not None and path.is_relative_to(root):
            return str(path.relative_to(root))
        return str(path)

    @cached_property
    def _hints(self) -> dict[str, object]:
        return hints(self.function, f"task {self.id}", self._names)

    def _payload_annotation(self) -> object:
        name = self._shape.payload or ""
        return payload_hint(self._hints, name, f"task {self.id}")

    def _output_annotation(self) -> object:
        return self._hints.get("return", Any)
