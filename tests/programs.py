"""Programs that tests start as a user would, and what they print."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from polling import until

_OURS = ("OUTLAST_", "TRIGGER_")


class Program:
    """A Python program in a folder, with its lines. Leads a process group: nothing is left."""

    def __init__(self, *arguments: str, cwd: Path, env: dict[str, str]) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env={**bare_environment(), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """Everything printed so far."""
        return "\n".join(self.lines)

    async def says(self, text: str, *, seconds: float = 30.0) -> None:
        """Wait until a line holds `text`. Raises `AssertionError` with all that was printed."""

        def said() -> bool:
            if text in self.output:
                return True
            assert self.process.poll() is None, f"ended without {text!r}:\n{self.output}"
            return False

        try:
            await until(said, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"no {text!r} within {seconds} s:\n{self.output}") from error

    async def ended(self, *, seconds: float = 20.0) -> int:
        """Wait for the end and return its code."""
        await until(lambda: self.process.poll() is not None, seconds=seconds, what=self.output)
        await asyncio.to_thread(self._reader.join, 5)
        return self.process.returncode

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            self.lines.extend(line.rstrip("\n") for line in output)


@contextlib.contextmanager
def outlast(*arguments: str, cwd: Path, **env: str) -> Iterator[Program]:
    """Start `outlast …` for the length of a block."""
    with python("-m", "outlast", *arguments, cwd=cwd, **env) as program:
        yield program


@contextlib.contextmanager
def python(*arguments: str, cwd: Path, **env: str) -> Iterator[Program]:
    """Start a Python program for the length of a block."""
    program = Program(*arguments, cwd=cwd, env=env)
    try:
        yield program
    finally:
        program.close()


async def run_outlast(*arguments: str, cwd: Path, **env: str) -> tuple[int, str]:
    """Run `outlast …` to its end; return its code and what it printed."""
    with outlast(*arguments, cwd=cwd, **env) as program:
        code = await program.ended(seconds=60)
        return code, program.output


def bare_environment() -> dict[str, str]:
    """Return our environment without what would lead a program to another server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def free_port() -> str:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return str(free.getsockname()[1])
