"""Streams over HTTP: append from outside, send messages, and read along across lost connections."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

import msgspec

from outlast.client.errors import OutlastError, ServerError, TransportError
from outlast.client.requests import (
    FACTOR,
    FIRST_WAIT,
    LONGEST_WAIT,
    MAX_ATTEMPTS,
    Reply,
    Request,
)
from outlast.protocol.streams import END_COMMENT, PART_ID, STREAMS_PATH

SILENCE_SECONDS: Final = 45.0
"""The server says something every 15 s: after this long the connection is lost."""
_IDLE_SECONDS: Final = 600


def append(run_id: str, key: str, data: str, part: str) -> Request[None]:
    """Return the request that appends a chunk, JSON text; `part` makes it count once."""
    path = f"{STREAMS_PATH}/{_part(run_id)}/self/{_part(key)}/append"
    return Request("POST", path, _nothing, body=data.encode(), more_headers=((PART_ID, part),))


def send(run_id: str, key: str, data: str) -> Request[None]:
    """Return the request that sends a message, JSON text, to a run's input stream."""
    path = f"{STREAMS_PATH}/{_part(run_id)}/input/{_part(key)}"
    body = msgspec.json.encode({"data": msgspec.Raw(data.encode())})
    return Request("POST", path, _nothing, body=body)


class Following:
    """One reading of a stream: which request comes next, and what its lines mean.

    `timeout` seconds without a chunk end it; None: it ends with the run.
    """

    def __init__(self, run_id: str, key: str, *, start: int, timeout: float | None) -> None:
        self._path = f"{STREAMS_PATH}/{_part(run_id)}/{_part(key)}"
        self._next = start
        self._timeout = timeout
        self._attempt = 0
        self._data: list[str] = []
        self._id: str | None = None
        self.over = False

    def request(self) -> Request[object]:
        """Return the request that reads on from where this has got to."""
        idle = _IDLE_SECONDS if self._timeout is None else max(1, min(_IDLE_SECONDS, self._timeout))
        headers = (
            ("accept", "text/event-stream"),
            ("last-event-id", str(self._next - 1)),
            ("timeout-seconds", str(int(idle))),
        )
        return Request("GET", self._path, _nothing, more_headers=headers)

    def take(self, line: str) -> Iterator[str]:
        """Yield the chunk that a line completes."""
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "" and self._id is not None:
            text, place = "\n".join(self._data), self._id
            self._data, self._id = [], None
            self._next = int(place) + 1
            self._attempt = 0
            yield text
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            self._id = value
        elif name == "" and value == END_COMMENT:
            self.over = True

    def closed(self) -> None:
        """Take note that the answer ended in good order: the run ended, or nothing came."""
        self.over = self.over or self._timeout is not None
        self._data, self._id = [], None

    def broken(self, error: OutlastError) -> float:
        """Return the wait before the next request. Raises the error when there is to be none."""
        self._data, self._id = [], None
        self._attempt += 1
        if not isinstance(error, TransportError | ServerError) or self._attempt > MAX_ATTEMPTS:
            raise error
        return min(LONGEST_WAIT, FIRST_WAIT * FACTOR ** (self._attempt - 1))


def _nothing(_: Reply) -> None:
    return None


def _part(text: str) -> str:
    return quote(text, safe="")
