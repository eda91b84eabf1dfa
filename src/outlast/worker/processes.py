"""Executor processes: started over a socketpair, spoken to in frames, ended with all they started.

A message is four bytes of length, big-endian, and the packed frames. Every executor leads a process
group of its own, so a Ctrl-C in the terminal does not reach it and a kill takes its children along.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from outlast.protocol.frames import Frame, pack, unpack
from outlast.protocol.manifests import ExecutorKind
from outlast.protocol.outcomes import SUSPECTED, RunError

_LENGTH = struct.Struct(">I")
_CHUNK = 256 * 1024
_GRACE = 1.0  # seconds from the end of the stream to the end of the process

logger = logging.getLogger("outlast.worker")


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What an executor is told on its command line."""

    root: str
    dirs: tuple[str, ...]
    kind: ExecutorKind
    replay_always: bool
    warm_wait: float
    sync_warm_wait: float
    log_level: str = "info"  # the least level that `logger` says
    console: bool = True  # whether lines of runs are shown on the worker's terminal too


@dataclass(frozen=True)
class Launch:
    """How to start an executor of one version."""

    config: Config
    environment: dict[str, str]
    command: tuple[str, ...] | None = None

    def arguments(self, fd: int) -> list[str]:
        """Return the command line of an executor whose end of the pipe is `fd`."""
        command = self.command or (sys.executable, "-m", "outlast.worker.executor")
        config = msgspec.json.encode(self.config).decode()
        return [*command, "--fd", str(fd), "--config", config]


class Process:
    """One executor process.

    `on_frames` is called with each message, `on_exit` once, with the exit code, after the last
    message was read: what an executor said before its death is never lost. The socket is read by
    hand, because asyncio's transports throw away what is unread when a write fails.
    """

    def __init__(
        self,
        launch: Launch,
        *,
        on_frames: Callable[[list[Frame]], None],
        on_exit: Callable[[int], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_frames = on_frames
        self._on_exit = on_exit
        self._incoming = bytearray()
        self._frames: list[Frame] = []
        self._outgoing = bytearray()
        self._flushing = False
        self._open = True  # the executor still reads
        self._paused = False
        self._lock = threading.Lock()  # a process is not killed while its id is given back
        self._reaped = False
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        with theirs:
            self._popen = subprocess.Popen(  # noqa: S603 - our own interpreter
                launch.arguments(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                cwd=Path(launch.config.root),
                env=launch.environment,
            )
        self.pid = self._popen.pid
        self._loop.add_reader(self._socket, self._readable)
        threading.Thread(target=self._watch, name=f"executor-{self.pid}", daemon=True).start()

    def send(self, frames: Sequence[Frame]) -> None:
        """Send frames; what is sent within one turn of the loop travels as one message."""
        if not self._open:
            return
        self._frames += frames
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def kill(self) -> None:
        """End the process and everything in its group at once."""
        with self._lock, contextlib.suppress(ProcessLookupError, PermissionError):
            if not self._reaped:
                os.killpg(self.pid, signal.SIGKILL)

    def pause(self) -> None:
        """Stop reading: an executor that reports faster than servers take it has to wait."""
        if not self._paused and self._open:
            self._paused = True
            self._loop.remove_reader(self._socket)

    def resume(self) -> None:
        """Read again."""
        if self._paused and self._open:
            self._paused = False
            self._loop.add_reader(self._socket, self._readable)

    def _flush(self) -> None:
        self._flushing = False
        if not self._open or not self._frames:
            return
        message = pack(self._frames)
        self._frames = []
        idle = not self._outgoing
        self._outgoing += _LENGTH.pack(len(message))
        self._outgoing += message
        if idle and not self._write():
            self._loop.add_writer(self._socket, self._write_on)

    def _write_on(self) -> None:
        if self._write():
            self._loop.remove_writer(self._socket)

    def _write(self) -> bool:
        """Write as much as the executor takes now; True when nothing is left."""
        try:
            while self._outgoing:
                sent = self._socket.send(memoryview(self._outgoing)[:_CHUNK])
                del self._outgoing[:sent]
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self._outgoing.clear()  # it is ending; what it said before is still to be read
        return True

    def _readable(self) -> None:
        """Read what is there and cut messages out of it; at the end of the stream stop."""
        try:
            data = self._socket.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._end_of_stream()
            return
        self._incoming += data
        start, end = 0, len(self._incoming)
        while end - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._incoming, start)
            if end - start - _LENGTH.size < length:
                break
            start += _LENGTH.size + length
            self._receive(bytes(self._incoming[start - length : start]))
        del self._incoming[:start]

    def _receive(self, message: bytes) -> None:
        try:
            frames = unpack(message)
        except msgspec.DecodeError:
            logger.exception("executor %d sent what is no frame; ending it", self.pid)
            self.kill()
            return
        self._on_frames(frames)

    def _end_of_stream(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._loop.call_later(_GRACE, self.kill)

    def _watch(self) -> None:
        """Wait in a thread for the end, and take the group along before its id can be reused."""
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            code = self._popen.wait()
            self._reaped = True
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            self._loop.call_soon_threadsafe(self._exited, code)

    def _exited(self, code: int) -> None:
        """Read what is left, which is all there by now, and report the end."""
        while self._open and self._pending():
            self._readable()
        self._end_of_stream()
        self._socket.close()
        self._on_exit(code)

    def _pending(self) -> bool:
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False


def describe_exit(code: int) -> str:
    """Say in words how a process ended."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory, or killed by hand)" if -code == signal.SIGKILL else ""
    return f"{name}{hint}"


def death(code: int) -> RunError:
    """Return the error of a run whose process ended by itself."""
    if code == -signal.SIGKILL:
        return RunError(
            "out_of_memory",
            SUSPECTED,
            "the process that executed the run was ended by a SIGKILL that was not ours: most "
            "likely the system was out of memory; `dmesg` knows",
        )
    how = describe_exit(code)
    return RunError("crashed", "ProcessDied", f"the process that executed the run ended with {how}")


def reap_orphans() -> None:
    """Take note of the end of processes that lost their parent, as process 1 of a container must.

    Our own children lead their group or belong to ours, and are left to who waits for them.
    """
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or os.getpgid(found.si_pid) in (found.si_pid, os.getpgid(0)):
            return
        os.waitpid(found.si_pid, 0)
