"""The pipe to the supervisor: frames both ways, and the end of the process when it closes."""

import asyncio
import contextlib
import ctypes
import os
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable
from typing import Protocol

from outlast.protocol.frames import Frame, pack, unpack

_LENGTH = struct.Struct(">I")
_CHUNK = 1 << 18
_PR_SET_PDEATHSIG = 1
_PATIENCE = 1.0
"""Seconds that a line waits for a supervisor which reads slowly, before it is kept in memory."""
_POLLRDHUP = getattr(select, "POLLRDHUP", 0)


class Outlet(Protocol):
    """Where an executor says its frames: a pipe, or a server in the same process."""

    def send(self, frame: Frame, /) -> None:
        """Take a frame; what is sent in one turn of the loop may travel together. On the loop."""

    def send_now(self, *frames: Frame) -> None:
        """Pass on everything sent, and these, before returning. From any thread."""

    def hand_over(self, frame: Frame, /) -> None:
        """Pass a frame on before returning, past what was sent. From any thread."""


class Pipe:
    """Frames over a socket. Reads and writes on one loop; `send_now` works from any thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = threading.Lock()
        self._incoming = bytearray()
        self._frames: list[Frame] = []
        self._outgoing = bytearray()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._receive: Callable[[list[Frame]], None] = _ignore
        self._closed: Callable[[], None] = end_group
        self._writing = False
        self._slow = False  # the supervisor kept a line waiting for too long, and still does
        sock.setblocking(False)

    def attach(
        self,
        loop: asyncio.AbstractEventLoop,
        receive: Callable[[list[Frame]], None],
        closed: Callable[[], None],
    ) -> None:
        """Begin to read on a loop. `closed` is called once the other end is gone."""
        self._loop = loop
        self._receive = receive
        self._closed = closed
        loop.add_reader(self._socket, self._read)

    def send(self, frame: Frame) -> None:
        """Queue a frame; what is queued in one turn of the loop travels together. On the loop."""
        assert self._loop is not None
        if not self._frames:
            self._loop.call_soon(self._flush)
        self._frames.append(frame)

    def send_now(self, *frames: Frame) -> None:
        """Send everything queued, and these, before returning. From any thread."""
        with self._lock:
            self._encode(frames)
            self._socket.setblocking(True)
            with contextlib.suppress(OSError):
                self._socket.sendall(self._outgoing)
            self._outgoing.clear()
            self._socket.setblocking(False)

    def hand_over(self, frame: Frame) -> None:
        """Give a frame to the system before returning, past what is queued. From any thread.

        A process that is killed right after has said it. Only a supervisor that does not read for
        a second leaves it in the memory of this process for now.
        """
        message = pack([frame])
        with self._lock:
            self._outgoing += _LENGTH.pack(len(message)) + message
            with contextlib.suppress(OSError):  # the end of the supervisor is heard elsewhere
                self._drain()
            left = bool(self._outgoing)
        if left and self._loop is not None:
            self._loop.call_soon_threadsafe(self._write)

    def _drain(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        while self._outgoing:
            try:
                sent = self._socket.send(self._outgoing, socket.MSG_DONTWAIT)
                del self._outgoing[:sent]
                self._slow = False
            except (BlockingIOError, InterruptedError):
                if self._slow or not poll.poll(_PATIENCE * 1000):
                    self._slow = True
                    return

    def _flush(self) -> None:
        with self._lock:
            self._encode()
        self._write()

    def _encode(self, more: tuple[Frame, ...] = ()) -> None:
        frames, self._frames = [*self._frames, *more], []
        if frames:
            message = pack(frames)
            self._outgoing += _LENGTH.pack(len(message))
            self._outgoing += message

    def _write(self) -> None:
        assert self._loop is not None
        with self._lock:
            try:
                while self._outgoing:
                    sent = self._socket.send(self._outgoing)
                    del self._outgoing[:sent]
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                self._closed()
                return
            left = bool(self._outgoing)
        if left and not self._writing:
            self._writing = True
            self._loop.add_writer(self._socket, self._write)
        elif not left and self._writing:
            self._writing = False
            self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            assert self._loop is not None
            self._loop.remove_reader(self._socket)
            self._closed()
            return
        self._incoming += data
        frames: list[Frame] = []
        start, end = 0, len(self._incoming)
        while end - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._incoming, start)
            if end - start - _LENGTH.size < length:
                break
            start += _LENGTH.size + length
            frames += unpack(bytes(self._incoming[start - length : start]))
        del self._incoming[:start]
        if frames:
            self._receive(frames)


def watch(sock: socket.socket) -> None:
    """End the process and its group as soon as the supervisor is gone, also when the loop hangs.

    A worker that was killed leaves nothing running: what its executors go on doing nobody wants.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(sock.fileno(),), name="supervisor", daemon=True).start()


def end_group() -> None:
    """End this process and what it started, at once and without unwinding."""
    with contextlib.suppress(OSError):
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _watch(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, _POLLRDHUP)
    while True:
        for _, event in poll.poll():
            if event & (select.POLLHUP | select.POLLERR | select.POLLNVAL | _POLLRDHUP):
                end_group()


def _ignore(_frames: list[Frame]) -> None:
    return None
