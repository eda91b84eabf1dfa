"""What can be triggered: a task at hand, or one known by its id only."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Any, Generic, Literal, TypeVar, Unpack, cast, overload

from outlast.client.batches import MAX_ITEMS
from outlast.client.subscriptions import RunUpdate
from outlast.sdk import batch_calls, children
from outlast.sdk.batches import BatchItem, TaskItem
from outlast.sdk.blocking import check_blocking
from outlast.sdk.calls import Call
from outlast.sdk.errors import PayloadError, UsageError
from outlast.sdk.handles import BatchHandle, RunHandle
from outlast.sdk.options import BatchOptions, BatchWaitOptions, TriggerOptions, WaitOptions
from outlast.sdk.outbox import Promised
from outlast.sdk.results import BatchResult, Result
from outlast.sdk.serde import Codec

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")


class Triggerable(Generic[In, Out]):
    """Creates runs of one task. Without a payload where the task takes none."""

    id: str
    _payload: Codec[Any]
    _output: Codec[Any]

    @overload
    def trigger(
        self: "Triggerable[None, Out]", /, **options: Unpack[TriggerOptions]
    ) -> Call[RunHandle[Out]]: ...
    @overload
    def trigger(
        self, payload: In, /, **options: Unpack[TriggerOptions]
    ) -> Call[RunHandle[Out]]: ...
    @overload
    def trigger(
        self: "Triggerable[None, Out]",
        /,
        *,
        connection: object,
        **options: Unpack[TriggerOptions],
    ) -> Call[Promised]: ...
    @overload
    def trigger(
        self, payload: In, /, *, connection: object, **options: Unpack[TriggerOptions]
    ) -> Call[Promised]: ...
    def trigger(
        self: "Triggerable[Any, Out]",
        payload: object = None,
        /,
        *,
        connection: object = None,
        **options: Unpack[TriggerOptions],
    ) -> Call[RunHandle[Out]] | Call[Promised]:
        """Create a run that goes its own way, and return its handle.

        The payload is checked here and now. Concurrent triggers share requests. Safe to repeat:
        a call is retried for up to 10 s under one request key. With `connection` the run is part
        of the transaction that is open there: `outlast outbox relay` creates it after the commit.
        """
        if connection is not None:
            return children.trigger_within(self, payload, options, connection)
        return cast("Call[RunHandle[Out]]", children.trigger(self, payload, options))

    @overload
    def trigger_sync(
        self: "Triggerable[None, Out]", /, **options: Unpack[TriggerOptions]
    ) -> RunHandle[Out]: ...
    @overload
    def trigger_sync(self, payload: In, /, **options: Unpack[TriggerOptions]) -> RunHandle[Out]: ...
    @overload
    def trigger_sync(
        self: "Triggerable[None, Out]",
        /,
        *,
        connection: object,
        **options: Unpack[TriggerOptions],
    ) -> Promised: ...
    @overload
    def trigger_sync(
        self, payload: In, /, *, connection: object, **options: Unpack[TriggerOptions]
    ) -> Promised: ...
    @overload
    def trigger_sync(
        self: "Triggerable[None, Out]",
        /,
        *,
        on_commit: Literal[True],
        **options: Unpack[TriggerOptions],
    ) -> None: ...
    @overload
    def trigger_sync(
        self, payload: In, /, *, on_commit: Literal[True], **options: Unpack[TriggerOptions]
    ) -> None: ...
    def trigger_sync(
        self: "Triggerable[Any, Out]",
        payload: object = None,
        /,
        *,
        connection: object = None,
        on_commit: bool = False,
        **options: Unpack[TriggerOptions],
    ) -> RunHandle[Out] | Promised | None:
        """Blocking `trigger`, for Flask, Django, scripts and `def` tasks.

        With `on_commit` the run is created once Django's transaction has committed, so there is
        no handle yet; an app that dies in between forgets it, which `connection` does not.
        """
        if on_commit:
            if connection is not None:
                raise UsageError("on_commit=True and connection= exclude each other; say one")
            children.trigger_on_commit(self, payload, options)
            return None
        if connection is not None:
            return children.trigger_within_sync(self, payload, options, connection)
        check_blocking(f"{self.id}.trigger_sync()", "trigger()")
        return cast("RunHandle[Out]", children.trigger_sync(self, payload, options))

    @overload
    def trigger_and_subscribe(
        self: "Triggerable[None, Out]", /, **options: Unpack[TriggerOptions]
    ) -> AsyncGenerator[RunUpdate, None]: ...
    @overload
    def trigger_and_subscribe(
        self, payload: In, /, **options: Unpack[TriggerOptions]
    ) -> AsyncGenerator[RunUpdate, None]: ...
    async def trigger_and_subscribe(
        self: "Triggerable[Any, Out]", payload: object = None, /, **options: Unpack[TriggerOptions]
    ) -> AsyncGenerator[RunUpdate, None]:
        """Create a run and yield it whenever it changes, until it has ended."""
        async for update in (await self.trigger(payload, **options)).subscribe():
            yield update

    @overload
    def trigger_and_wait(
        self: "Triggerable[None, Out]", /, **options: Unpack[WaitOptions]
    ) -> Call[Result[Out]]: ...
    @overload
    def trigger_and_wait(
        self, payload: In, /, **options: Unpack[WaitOptions]
    ) -> Call[Result[Out]]: ...
    def trigger_and_wait(
        self: "Triggerable[Any, Out]", payload: object = None, /, **options: Unpack[WaitOptions]
    ) -> Call[Result[Out]]:
        """Create a child run and wait for its end, inside a task only.

        `.unwrap()` gives the output itself and raises when the child failed. The slot of the
        waiting run is free meanwhile. After `timeout` the caller goes on, and so does the child.
        """
        return cast("Call[Result[Out]]", children.trigger_and_wait(self, payload, options))

    @overload
    def trigger_and_wait_sync(
        self: "Triggerable[None, Out]", /, **options: Unpack[WaitOptions]
    ) -> Result[Out]: ...
    @overload
    def trigger_and_wait_sync(
        self, payload: In, /, **options: Unpack[WaitOptions]
    ) -> Result[Out]: ...
    def trigger_and_wait_sync(
        self: "Triggerable[Any, Out]", payload: object = None, /, **options: Unpack[WaitOptions]
    ) -> Result[Out]:
        """Blocking `trigger_and_wait`, for `def` tasks."""
        check_blocking(f"{self.id}.trigger_and_wait_sync()", "trigger_and_wait()")
        return cast("Result[Out]", children.trigger_and_wait_sync(self, payload, options))

    @overload
    def call(self: "Triggerable[None, Out]", /, **options: Unpack[WaitOptions]) -> Call[Out]: ...
    @overload
    def call(self, payload: In, /, **options: Unpack[WaitOptions]) -> Call[Out]: ...
    def call(
        self: "Triggerable[Any, Out]", payload: object = None, /, **options: Unpack[WaitOptions]
    ) -> Call[Out]:
        """Run a child and return its output: `trigger_and_wait(...).unwrap()`."""
        return self.trigger_and_wait(payload, **options).unwrap()

    def batch_trigger(
        self,
        items: Iterable[In | BatchItem[In]] | AsyncIterable[In | BatchItem[In]],
        /,
        **options: Unpack[BatchOptions],
    ) -> Call[BatchHandle[Out]]:
        """Create up to 1,000 runs at once: payloads, or `BatchItem(payload, **options)`.

        The items may come from an async iterator. Raises `BatchTriggerError` when items are
        refused; its `refusals` name them, the others go on.
        """
        return cast(
            "Call[BatchHandle[Out]]",
            batch_calls.batch_trigger(self.id, _own_stream(self, items), options),
        )

    def batch_trigger_sync(
        self, items: Iterable[In | BatchItem[In]], /, **options: Unpack[BatchOptions]
    ) -> BatchHandle[Out]:
        """Blocking `batch_trigger`."""
        check_blocking(f"{self.id}.batch_trigger_sync()", "batch_trigger()")
        return cast(
            "BatchHandle[Out]", batch_calls.batch_trigger_sync(self.id, _own(self, items), options)
        )

    def batch_trigger_and_wait(
        self, items: Iterable[In | BatchItem[In]], /, **options: Unpack[BatchWaitOptions]
    ) -> Call[BatchResult[Out]]:
        """Create up to 1,000 child runs and wait until all have ended, inside a task only.

        `.unwrap()` gives the list of outputs and raises the first failure.
        """
        return cast(
            "Call[BatchResult[Out]]",
            batch_calls.batch_trigger_and_wait(self.id, _own(self, items), options),
        )

    def batch_trigger_and_wait_sync(
        self, items: Iterable[In | BatchItem[In]], /, **options: Unpack[BatchWaitOptions]
    ) -> BatchResult[Out]:
        """Blocking `batch_trigger_and_wait`, for `def` tasks."""
        check_blocking(f"{self.id}.batch_trigger_and_wait_sync()", "batch_trigger_and_wait()")
        return cast(
            "BatchResult[Out]",
            batch_calls.batch_trigger_and_wait_sync(self.id, _own(self, items), options),
        )

    async def map(
        self, items: Iterable[In | BatchItem[In]], /, *, window: int = MAX_ITEMS
    ) -> list[Out]:
        """Run a child for each item and return their outputs in order, inside a task only.

        At most `window` of them are there at once, 1 to 1,000: a batch each, which is one entry
        of the journal. The first failure is raised when its batch has ended; later ones do not
        start.
        """
        return [
            output
            for portion in _windows(items, window)
            for output in await self.batch_trigger_and_wait(portion).unwrap()
        ]

    def map_sync(
        self, items: Iterable[In | BatchItem[In]], /, *, window: int = MAX_ITEMS
    ) -> list[Out]:
        """Blocking `map`, for `def` tasks."""
        check_blocking(f"{self.id}.map_sync()", "map()")
        return [
            output
            for portion in _windows(items, window)
            for output in self.batch_trigger_and_wait_sync(portion).unwrap()
        ]

    @overload
    def item(
        self: "Triggerable[None, Out]", /, **options: Unpack[TriggerOptions]
    ) -> TaskItem[Out]: ...
    @overload
    def item(self, payload: In, /, **options: Unpack[TriggerOptions]) -> TaskItem[Out]: ...
    def item(
        self: "Triggerable[Any, Out]", payload: object = None, /, **options: Unpack[TriggerOptions]
    ) -> TaskItem[Out]:
        """Return one run of a batch of several tasks, for `batch.trigger` and its siblings."""
        return TaskItem(self, payload, options)

    def encode_payload(self, payload: object) -> str | None:
        """Return a payload as JSON text; None: there is none. Raises `PayloadError`."""
        if payload is not None:
            return self._payload.encode(payload)
        self._need_none()
        return None

    def _need_none(self) -> None:
        """Let a missing payload pass where null is one. Raises `PayloadError`."""
        try:
            self._payload.validate(None)
        except PayloadError:
            raise PayloadError(
                f"task {self.id} needs a payload and got none; pass it with the trigger, or give "
                "the parameter in the task's function a default"
            ) from None

    def decode_output(self, text: str | None) -> Out:
        """Return what a run of the task gave. Raises `OutputError` when it is something else."""
        return cast("Out", None if text is None else self._output.decode(text))


def _windows(items: Iterable[T], window: int) -> Iterator[list[T]]:
    if not 1 <= window <= MAX_ITEMS:
        raise UsageError(f"window= is 1 to {MAX_ITEMS:,} items at once, not {window}")
    rest = iter(items)
    while portion := list(islice(rest, window)):
        yield portion


def _own(task: Triggerable[Any, Any], items: Iterable[Any]) -> Iterator[TaskItem[Any]]:
    return (TaskItem.of(task, item) for item in items)


def _own_stream(
    task: Triggerable[Any, Any], items: Iterable[Any] | AsyncIterable[Any]
) -> Iterator[TaskItem[Any]] | AsyncIterator[TaskItem[Any]]:
    if isinstance(items, AsyncIterable):
        return (TaskItem.of(task, item) async for item in items)
    return _own(task, items)
