"""Input streams: messages that anybody sends to a run, received once and recorded like a wait."""

from collections.abc import AsyncIterator, Iterator
from typing import Final, Generic, Literal, TypeVar

from outlast.client import clients
from outlast.client import streams as requests
from outlast.protocol.messages import Call as Asked
from outlast.protocol.outcomes import Outcome
from outlast.protocol.streams import MAX_MESSAGE_BYTES
from outlast.sdk.blocking import check_blocking
from outlast.sdk.calls import Call
from outlast.sdk.durations import Duration, seconds
from outlast.sdk.errors import OutputError, PayloadError, WaitpointTimeoutError, run_error
from outlast.sdk.inside import required
from outlast.sdk.results import Result
from outlast.sdk.runtime import Runtime
from outlast.sdk.serde import Codec
from outlast.sdk.texts import fitting, storable_json, stream_key

T = TypeVar("T")


class InputStream(Generic[T]):
    """Messages of one type that anybody sends to a run: kept until it receives them, in order."""

    __slots__ = ("_codec", "key")

    def __init__(self, key: str, type: object) -> None:  # noqa: A002
        self.key: Final = stream_key(key)
        self._codec = Codec[T](
            lambda: type, subject="message", owner=f"input stream {key}", error=PayloadError
        )

    def __repr__(self) -> str:
        return f"InputStream({self.key!r})"

    def wait(self, *, timeout: Duration | None = None) -> Call[Result[T]]:
        """Receive the next message; the run gives its slot back until it comes.

        `(await approval.wait(timeout="7d")).output`, or `.unwrap()` on the call. A `timeout` that
        passed is a result with a `WaitpointTimeoutError`.
        """
        run = required(f"input stream {self.key}: wait()", "send() to the run elsewhere")
        asked = self._asked(run, "stream", timeout)

        async def drive() -> Result[T]:
            return self._received(await run.resolve(asked))

        return Call("input.wait", drive)

    def wait_sync(self, *, timeout: Duration | None = None) -> Result[T]:
        """Blocking `wait`, for `def` tasks."""
        check_blocking("input.wait_sync()", "input.wait()")
        run = required(f"input stream {self.key}: wait_sync()", "send() to the run elsewhere")
        return self._received(run.resolve_sync(self._asked(run, "stream", timeout)))

    def once(self, *, timeout: Duration | None = None) -> Call[T]:
        """Receive the next message itself. Raises `WaitpointTimeoutError` after `timeout`."""
        return self.wait(timeout=timeout).unwrap()

    def once_sync(self, *, timeout: Duration | None = None) -> T:
        """Blocking `once`."""
        return self.wait_sync(timeout=timeout).unwrap()

    async def listen(self) -> AsyncIterator[T]:
        """Yield message after message, for as long as the code goes on asking."""
        while True:
            yield await self.once()

    def listen_sync(self) -> Iterator[T]:
        """Blocking `listen`."""
        while True:
            yield self.once_sync()

    def peek(self) -> Call[T | None]:
        """Return the next message and leave it there; None: there is none yet. A replay agrees."""
        run = required(f"input stream {self.key}: peek()", "only the run can look")
        asked = self._asked(run, "peek", None)

        async def drive() -> T | None:
            return self._seen(await run.resolve(asked))

        return Call("input.peek", drive)

    def peek_sync(self) -> T | None:
        """Blocking `peek`."""
        check_blocking("input.peek_sync()", "input.peek()")
        run = required(f"input stream {self.key}: peek_sync()", "only the run can look")
        return self._seen(run.resolve_sync(self._asked(run, "peek", None)))

    async def send(self, run_id: str, data: T) -> None:
        """Send a message to a run, at most 1 MB. Raises `UnprocessableError` once it has ended."""
        await clients.send(requests.send(run_id, self.key, self._encode(data)))

    def send_sync(self, run_id: str, data: T) -> None:
        """Blocking `send`."""
        check_blocking("input.send_sync()", "input.send()")
        clients.send_sync(requests.send(run_id, self.key, self._encode(data)))

    def _asked(
        self, run: Runtime, kind: Literal["stream", "peek"], timeout: Duration | None
    ) -> Asked:
        return Asked(
            key=run.reserve(kind, self.key),
            kind=kind,
            name=self.key,
            target=self.key,
            arguments=self.key,
            timeout=None if timeout is None else seconds(timeout, "timeout"),
        )

    def _received(self, outcome: Outcome) -> Result[T]:
        error = outcome.error
        if outcome.ok or error is None:
            return Result(id=self.key, task="", output=self._decode(outcome.value))
        if error.kind == "timed_out":
            told = f"nothing came on input stream {self.key} in time"
            return Result(id=self.key, task="", error=WaitpointTimeoutError(told, error=error))
        raise run_error(error)

    def _seen(self, outcome: Outcome) -> T | None:
        if outcome.error is not None:
            raise run_error(outcome.error)
        return None if outcome.value is None else self._decode(outcome.value)

    def _encode(self, data: T) -> str:
        text = storable_json(self._codec.encode(data), f"a message of input stream {self.key}")
        return fitting(text, MAX_MESSAGE_BYTES, f"a message of input stream {self.key}")

    def _decode(self, text: str | None) -> T:
        try:
            return self._codec.decode(text)
        except PayloadError as error:
            raise OutputError(str(error)) from None
