"""What a trigger gives back: the id of a run or batch, and ways to follow it."""

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from outlast.client import batches, clients, runs
from outlast.client.runs import POLL_SECONDS, End
from outlast.client.subscriptions import RunUpdate
from outlast.protocol.bodies import BatchBody
from outlast.protocol.outcomes import ErrorKind, RunError
from outlast.sdk import runtime, subscriptions
from outlast.sdk.blocking import check_blocking
from outlast.sdk.durations import Duration, seconds
from outlast.sdk.errors import UsageError, run_error
from outlast.sdk.options import TOKEN_SECONDS

Out_co = TypeVar("Out_co", covariant=True)

_KINDS: Final[dict[str, ErrorKind]] = {
    "CANCELED": "canceled",
    "TIMED_OUT": "timed_out",
    "EXPIRED": "expired",
    "CRASHED": "crashed",
    "SYSTEM_FAILURE": "system",
}


class RunHandle(Generic[Out_co]):
    """A run that was created, or found by its idempotency key (`is_cached`)."""

    __slots__ = ("_expires", "_read_output", "id", "is_cached", "task")

    def __init__(
        self,
        run_id: str,
        *,
        task: str,
        is_cached: bool,
        read: Callable[[str | None], Any],
        expires: float | datetime = TOKEN_SECONDS,
    ) -> None:
        self.id: Final = run_id
        self.task: Final = task
        self.is_cached: Final = is_cached
        self._read_output: Final = read
        self._expires: Final = expires

    def __repr__(self) -> str:
        return f"RunHandle({self.id!r}, task={self.task!r}, is_cached={self.is_cached})"

    @property
    def public_access_token(self) -> str:
        """A token with which a browser may read this run, for an hour unless told otherwise."""
        return clients.public_token([f"read:runs:{self.id}"], _lifetime(self._expires))

    async def result(self, *, timeout: Duration | None = None) -> Out_co:  # noqa: ASYNC109
        """Wait for the end and return the output.

        Raises `RunFailed`, `RunCanceled`, `RunTimedOut` or `RunExpired`, and `TimeoutError` when
        the run goes on longer than `timeout`.
        """
        deadline = self._deadline(timeout)
        while True:
            end = await clients.send(runs.end(self.id, _poll(deadline)))
            if end is not None:
                return self._read(end)
            self._check(deadline)

    def result_sync(self, *, timeout: Duration | None = None) -> Out_co:
        """Blocking `result`."""
        check_blocking("handle.result_sync()", "handle.result()")
        deadline = self._deadline(timeout)
        while True:
            end = clients.send_sync(runs.end(self.id, _poll(deadline)))
            if end is not None:
                return self._read(end)
            self._check(deadline)

    def subscribe(self) -> AsyncGenerator[RunUpdate, None]:
        """Yield the run whenever it changes, until it has ended."""
        return subscriptions.subscribe(self.id)

    def subscribe_sync(self) -> Iterator[RunUpdate]:
        """Blocking `subscribe`."""
        return subscriptions.subscribe_sync(self.id)

    async def cancel(self) -> None:
        """Cancel the run and its children. A run that has ended stays as it is."""
        await clients.send(runs.cancel(self.id))

    def cancel_sync(self) -> None:
        """Blocking `cancel`."""
        check_blocking("handle.cancel_sync()", "handle.cancel()")
        clients.send_sync(runs.cancel(self.id))

    def _deadline(self, timeout: Duration | None) -> float | None:
        if runtime.current() is not None:
            raise UsageError(
                "a task cannot wait for handle.result(): it would hold its slot meanwhile; "
                f"use .trigger_and_wait() instead of .trigger() for {self.task}"
            )
        return None if timeout is None else time.monotonic() + seconds(timeout, "timeout")

    def _check(self, deadline: float | None) -> None:
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError(f"run {self.id} of {self.task} has not ended yet; it goes on")

    def _read(self, end: End) -> Out_co:
        if end.status != "COMPLETED":
            raise run_error(_error(end), run_id=self.id, task=self.task)
        text = bytes(end.output).decode()
        output: Out_co = self._read_output(None if text == "null" else text)
        return output


class BatchHandle(Generic[Out_co]):
    """A batch that was created. `id` is None for an empty batch, and for one made inside a task.

    `runs` are its runs where they are known at once, which is inside a task.
    """

    __slots__ = ("_expires", "id", "is_cached", "runs", "size")

    def __init__(
        self,
        batch_id: str | None,
        *,
        size: int,
        is_cached: bool = False,
        runs: tuple[RunHandle[Out_co], ...] = (),
        expires: float | datetime = TOKEN_SECONDS,
    ) -> None:
        self.id: Final = batch_id
        self.size: Final = size
        self.is_cached: Final = is_cached
        self.runs: Final = runs
        self._expires: Final = expires

    def __repr__(self) -> str:
        return f"BatchHandle({self.id!r}, {self.size} runs, is_cached={self.is_cached})"

    @property
    def public_access_token(self) -> str:
        """A token with which a browser may read this batch, for an hour unless told otherwise."""
        return clients.public_token([f"read:batch:{self._known()}"], _lifetime(self._expires))

    async def retrieve(self) -> BatchBody:
        """Return the batch as it is now, with the ids of its runs."""
        return await clients.send(batches.retrieve(self._known()))

    def retrieve_sync(self) -> BatchBody:
        """Blocking `retrieve`."""
        check_blocking("batch.retrieve_sync()", "batch.retrieve()")
        return clients.send_sync(batches.retrieve(self._known()))

    def subscribe(self) -> AsyncGenerator[RunUpdate, None]:
        """Yield the runs of the batch, and each again whenever it changes, without end."""
        return subscriptions.subscribe_to_batch(self._known())

    def subscribe_sync(self) -> Iterator[RunUpdate]:
        """Blocking `subscribe`."""
        return subscriptions.subscribe_to_batch_sync(self._known())

    def _known(self) -> str:
        if self.id is None:
            raise UsageError("this batch has no id; its runs are in `.runs`")
        return self.id


def _lifetime(expires: float | datetime) -> float:
    return expires.timestamp() - time.time() if isinstance(expires, datetime) else expires


def _poll(deadline: float | None) -> float:
    if deadline is None:
        return POLL_SECONDS
    return max(0.0, min(POLL_SECONDS, deadline - time.monotonic()))


def _error(end: End) -> RunError:
    found = end.error
    kind = _KINDS.get(end.status, "raised")
    if found is None:
        return RunError(kind=kind, type=end.status, message="no error was recorded")
    return RunError(
        kind=kind,
        type=found.name,
        message=found.message,
        stack=found.stack_trace,
        causes=found.causes,
    )
