"""Streams: what a run writes while it works for whoever reads along, and what is sent to it.

Chunks of an output stream count once, however often a replay repeats the code that appends them. A
message of an input stream is received once, in order, and recorded like every wait.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from types import TracebackType
from typing import Any, Final, Generic, Literal, TypeVar, overload

import msgspec

from outlast.client import clients
from outlast.client import streams as requests
from outlast.client.requests import Request
from outlast.protocol.streams import DEFAULT, MAX_CHUNK_BYTES
from outlast.sdk import runtime
from outlast.sdk.blocking import check_blocking
from outlast.sdk.durations import Duration, seconds
from outlast.sdk.errors import OutlastError, OutputError, PayloadError, UsageError
from outlast.sdk.input_streams import InputStream
from outlast.sdk.inside import required
from outlast.sdk.runtime import Runtime
from outlast.sdk.serde import Codec
from outlast.sdk.texts import fitting, storable_json, stream_key

__all__ = [
    "InputStream",
    "Stream",
    "Writer",
    "append",
    "append_sync",
    "define",
    "input",
    "pipe",
    "pipe_sync",
    "read",
    "read_sync",
    "writer",
]

T = TypeVar("T")

Target = Literal["self", "parent", "root"] | str  # noqa: PYI051 - the words are for editors
_AHEAD: Final = 1_000_000
"""Characters that a run may be ahead of what is stored; past them a write waits."""


class Writer(Generic[T]):
    """Appends to one stream: `async with stream.writer() as w: await w.write(x)`.

    Leaving the block waits until everything is stored. `with` and `write_sync` for `def` tasks.
    """

    __slots__ = ("_name", "_stream", "_target", "count")

    def __init__(self, stream: "Stream[T]", target: Target, *, afresh: bool) -> None:
        self._stream = stream
        self._target = target
        self._name = secrets.token_hex(6) if afresh else None
        self.count = 0
        """Chunks written."""

    async def write(self, value: T) -> None:
        """Append a value; waits only when the run is far ahead of what is stored."""
        run = self._put(value)
        await run.appended(_AHEAD)

    def write_sync(self, value: T) -> None:
        """Blocking `write`."""
        self._put(value).appended_sync(_AHEAD)

    async def __aenter__(self) -> "Writer[T]":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await _writing(self._stream).appended()

    def __enter__(self) -> "Writer[T]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            _writing(self._stream).appended_sync()

    def _put(self, value: T) -> Runtime:
        run = _writing(self._stream)
        text = self._stream.encode(value)
        run.append(self._stream.key, text, target=self._target, writer=self._name)
        self.count += 1
        return run


class Stream(Generic[T]):
    """A stream of values of one type, which runs append to and anybody may read along.

    `target` is the run whose stream it is: the run itself, its `parent`, the `root` of its family,
    or another run by its id. What is appended counts once per attempt, however often the code is
    replayed; with `afresh=True` it is appended again whenever the code runs again, for sources that
    do not repeat themselves.
    """

    __slots__ = ("_codec", "key")

    def __init__(self, key: str, type: object) -> None:  # noqa: A002 - the word users write
        self.key: Final = stream_key(key)
        self._codec = Codec[T](
            lambda: type, subject="chunk", owner=f"stream {key}", error=PayloadError
        )

    def __repr__(self) -> str:
        return f"Stream({self.key!r})"

    async def append(self, value: T, *, target: Target = "self") -> None:
        """Append one value. Outside a run, `target` is the id of the run to append to."""
        if runtime.current() is not None:
            await self.writer(target=target).write(value)
        else:
            await clients.send(self._append(value, target))

    def append_sync(self, value: T, *, target: Target = "self") -> None:
        """Blocking `append`."""
        check_blocking("stream.append_sync()", "stream.append()")
        if runtime.current() is not None:
            self.writer(target=target).write_sync(value)
        else:
            clients.send_sync(self._append(value, target))

    async def pipe(
        self,
        source: AsyncIterable[T] | Iterable[T],
        *,
        target: Target = "self",
        afresh: bool = False,
    ) -> int:
        """Append everything a source gives, as it comes; return how many when all is stored."""
        async with self.writer(target=target, afresh=afresh) as writer:
            if isinstance(source, AsyncIterable):
                async for value in source:
                    await writer.write(value)
            else:
                for value in source:
                    await writer.write(value)
        return writer.count

    def pipe_sync(
        self, source: Iterable[T], *, target: Target = "self", afresh: bool = False
    ) -> int:
        """Blocking `pipe`."""
        check_blocking("stream.pipe_sync()", "stream.pipe()")
        with self.writer(target=target, afresh=afresh) as writer:
            for value in source:
                writer.write_sync(value)
        return writer.count

    def writer(self, *, target: Target = "self", afresh: bool = False) -> Writer[T]:
        """Return what appends value by value: `async with stream.writer() as w`."""
        return Writer(self, target, afresh=afresh)

    async def read(
        self,
        run_id: str,
        *,
        start: int = 0,
        timeout: Duration | None = None,  # noqa: ASYNC109
    ) -> AsyncIterator[T]:
        """Yield the values of a run's stream from an index on, as they come, until the run ends.

        A lost connection goes on where it was. With a `timeout` it also ends when nothing came for
        so long. Raises `NotFoundError` for an unknown run, `OutputError` for data of another type.
        """
        following = self._following(run_id, start, timeout)
        while not following.over:
            try:
                lines = clients.lines(following.request(), silence=requests.SILENCE_SECONDS)
                async for line in lines:
                    for text in following.take(line):
                        yield self.decode(text)
                following.closed()
            except OutlastError as error:
                await asyncio.sleep(following.broken(error))

    def read_sync(
        self, run_id: str, *, start: int = 0, timeout: Duration | None = None
    ) -> Iterator[T]:
        """Blocking `read`."""
        check_blocking("stream.read_sync()", "stream.read()")
        following = self._following(run_id, start, timeout)
        while not following.over:
            try:
                lines = clients.lines_sync(following.request(), silence=requests.SILENCE_SECONDS)
                for line in lines:
                    for text in following.take(line):
                        yield self.decode(text)
                following.closed()
            except OutlastError as error:
                time.sleep(following.broken(error))

    def encode(self, value: T) -> str:
        """Return a value as a chunk. Raises `PayloadError`, `UsageError` when it is too large."""
        text = storable_json(self._codec.encode(value), f"a chunk of stream {self.key}")
        return fitting(text, MAX_CHUNK_BYTES, f"a chunk of stream {self.key}")

    def decode(self, text: str) -> T:
        """Return the value of a chunk. Raises `OutputError`."""
        try:
            try:
                msgspec.json.decode(text, type=msgspec.Raw)
            except msgspec.DecodeError:
                return self._codec.validate(text)  # a writer of another language sent plain text
            return self._codec.decode(text)
        except PayloadError as error:
            raise OutputError(str(error)) from None

    def _append(self, value: T, target: str) -> Request[None]:
        if target in ("self", "parent", "root"):
            raise UsageError(
                f"stream {self.key}: outside a run, give the id of the run to append to: "
                'append(x, target="run_…")'
            )
        return requests.append(target, self.key, self.encode(value), secrets.token_hex(16))

    def _following(self, run_id: str, start: int, timeout: Duration | None) -> requests.Following:
        if start < 0:
            raise UsageError(f"stream {self.key} is read from an index of 0 or more, not {start}")
        patience = None if timeout is None else seconds(timeout, "timeout")
        return requests.Following(run_id, self.key, start=start, timeout=patience)


@overload
def define(key: str, type: type[T]) -> Stream[T]: ...
@overload
def define(key: str, type: object = Any) -> Stream[Any]: ...
def define(key: str, type: object = Any) -> Stream[Any]:  # noqa: A002
    """Return the stream with a key, of values of a type: `tokens = streams.define("ai", str)`."""
    return Stream(key, type)


@overload
def input(key: str, type: type[T]) -> InputStream[T]: ...  # noqa: A001
@overload
def input(key: str, type: object = Any) -> InputStream[Any]: ...  # noqa: A001
def input(key: str, type: object = Any) -> InputStream[Any]:  # noqa: A001, A002
    """Return the input stream with a key: `approval = streams.input("approval", Approval)`."""
    return InputStream(key, type)


_default: Final[Stream[Any]] = Stream(DEFAULT, Any)

append = _default.append
append_sync = _default.append_sync
pipe = _default.pipe
pipe_sync = _default.pipe_sync
read = _default.read
read_sync = _default.read_sync
writer = _default.writer


def _writing(stream: Stream[T]) -> Runtime:
    return required(
        f"a writer of stream {stream.key}", 'use append(x, target="run_…") to write from outside'
    )
