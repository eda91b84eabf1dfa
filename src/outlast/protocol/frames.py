"""The worker link: frames between server, supervisor and executor.

A message is a msgpack array of frames. A frame is `[kind, run, token, number, body]`: the
supervisor routes by the first four and never decodes the body. `number` counts the frames an
executor sends for a (run, token); the server answers each with `ACK` of the same number, and
applying one twice is the same as once. Frames of one run apply in the order sent.
"""

from enum import IntEnum

import msgspec

PROTOCOL = 1
"""Version of the link; a server speaks this and the previous one."""

MAX_FRAME_BYTES = 16 * 1024 * 1024
HEARTBEAT_SECONDS = 2.0
LEASE_SECONDS = 15.0
FENCE_SECONDS = 10.0
"""Nothing starts on a heartbeat acknowledged longer ago than this."""


class Kind(IntEnum):
    """What a frame says. Below 20 executor to server, below 40 server to executor, else session."""

    STARTED = 1  # Started
    STEP = 2  # Step: journal write, outside the cycle
    DELIVERED = 3  # Delivered: journal write, outside the cycle
    CALL = 4  # Call: a child, batch, trigger or wait; ACK carries Called
    SUSPEND = 5  # Suspend; ACK carries Suspended
    WAKE = 6  # Empty: a parked run goes on by itself and wants its slot back
    COMPLETE = 7  # Complete
    FAIL = 8  # Fail
    REPORT = 9  # Report: metadata, tags, log lines; outside the cycle
    GONE = 10  # Empty: a warm resume for a run that is not parked here
    APPEND = 11  # Append (protocol.streams): chunks, outside the cycle; ACK carries Appended
    RESTART = 12  # Restart: ends this generation of the run

    CLAIM = 20  # Claim: start or resume
    ACK = 21  # Called | Suspended | Stepped | Empty, by the kind acknowledged
    RESULT = 22  # Result: an entry finished
    CANCEL = 23  # Cancel
    DROP = 24  # Drop: the run is not yours any more; stop without a word

    HELLO = 40  # Hello, worker to server
    WELCOME = 41  # Welcome
    HEARTBEAT = 42  # Heartbeat, worker to server
    BEAT = 43  # Beat: the heartbeat is committed; also supervisor to executor
    GOODBYE = 44  # Goodbye, either way
    REFUSED = 45  # Refusal: the server will not have this worker
    CRASH = 46  # Crash, supervisor to server: an executor died
    READY = 47  # Ready, executor to supervisor: tasks are imported, runs may come
    LINE = 49  # LogLine, executor to supervisor: handed over as it is said, passed on in reports
    CAPACITY = 48  # Capacity, worker to server: how many runs it can execute at once


class Frame(msgspec.Struct, array_like=True, frozen=True):
    """One frame; the body stays encoded until its addressee reads it."""

    kind: int
    run: str
    token: int
    number: int
    body: msgspec.Raw


_encoder = msgspec.msgpack.Encoder()
_frames = msgspec.msgpack.Decoder(list[Frame])


EMPTY = msgspec.Raw(_encoder.encode({}))
"""The body of most acknowledgements."""


def body(message: msgspec.Struct) -> msgspec.Raw:
    """Return the body of a frame."""
    return msgspec.Raw(_encoder.encode(message))


def frame(
    kind: Kind, body: msgspec.Struct, *, run: str = "", token: int = 0, number: int = 0
) -> Frame:
    """Return a frame with its body encoded."""
    return Frame(kind, run, token, number, msgspec.Raw(_encoder.encode(body)))


def pack(frames: list[Frame]) -> bytes:
    """Return one message."""
    return _encoder.encode(frames)


def unpack(message: bytes) -> list[Frame]:
    """Return the frames of a message. Raises `msgspec.DecodeError` on garbage."""
    return _frames.decode(message)
