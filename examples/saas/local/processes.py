"""Child processes of the demo: started with a log file, killed or stopped, never left behind."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 20.0
"""Seconds that a process gets to end by itself."""


class ProcessError(Exception):
    """A process ended or did not get ready; the message has the end of its log."""


@dataclass
class Program:
    """A running process and where its output goes."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @classmethod
    def start(
        cls, name: str, arguments: list[str], *, cwd: Path, env: Mapping[str, str], log: Path
    ) -> "Program":
        """Start the process with an empty log, out of reach of Ctrl-C: its owner stops it.

        It reads a pipe that stays empty and ends with us, see `tethered`.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - a list of our own, no shell
                arguments,
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it is gone."""
        return self.process.poll() is not None

    def check(self) -> None:
        """Raise `ProcessError` if the process has ended."""
        if self.has_ended:
            code = self.process.returncode
            raise ProcessError(f"the {self.name} ended with code {code}:\n{self.last_lines()}")

    def last_lines(self, count: int = 15) -> str:
        """Return the end of the log."""
        with suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            return "\n".join(f"  {line}" for line in lines[-count:])
        return "  (no log)"

    def kill(self) -> None:
        """End the process as a power cut would: SIGKILL, at once, no goodbye."""
        self.process.kill()
        self.process.wait()

    async def stop(self) -> None:
        """Ask the process to end, and end it when it does not."""
        if not self.has_ended:
            self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(self.process.wait, PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
        if self.process.stdin is not None:
            self.process.stdin.close()


def free_port(wanted: int = 0) -> int:
    """Return a port that nobody listens on: the wanted one, if it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def inherited(*without: str) -> dict[str, str]:
    """Return our own environment, less some variables, with Python's output unbuffered."""
    kept = {name: value for name, value in os.environ.items() if name not in without}
    return {**kept, "PYTHONUNBUFFERED": "1"}
