"""Control groups of Linux: the kernel keeps the memory limit of an executor, and ends it whole.

Needs cgroup v2 with a memory controller in a folder that is ours to write: a container with a
cgroup namespace of its own, or a unit of systemd with `Delegate=yes`. Elsewhere nothing is found,
and memory is measured instead.
"""

import contextlib
import logging
import os
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
_PREFIX: Final = "outlast-"

logger = logging.getLogger("outlast.worker")


class Group:
    """The control group of one executor and all that it starts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._most: int | None = None

    def limit(self, most: int | None) -> bool:
        """Let the kernel keep a limit of bytes, None: none; False where it will not."""
        if most != self._most:
            if not _write(self._folder / "memory.max", "max" if most is None else str(most)):
                return False
            self._most = most
        return True

    def ran_out(self) -> bool:
        """Say whether the kernel ended processes of the group for want of memory."""
        try:
            lines = (self._folder / "memory.events").read_text().split("\n")
        except OSError:
            return False
        return any(line.startswith("oom_kill ") and not line.endswith(" 0") for line in lines)

    def end(self) -> None:
        """End what is left in it, also what left the process group."""
        _write(self._folder / "cgroup.kill", "1")
        _remove(self._folder)


class Groups:
    """Makes the groups of one supervisor."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0

    @classmethod
    def find(
        cls, root: Path = ROOT, *, membership: Path = Path("/proc/self/cgroup")
    ) -> "Groups | None":
        """Prepare the group that this process is in; None where that cannot be.

        A group that gives limits to its children may hold no process itself, so this one moves to a
        child. It moves back when others stand in the way.
        """
        folder = _own(root, membership)
        if folder is None or "memory" not in _words(folder / "cgroup.controllers"):
            return None
        groups = cls(folder)
        groups.sweep()
        aside = folder / f"{_PREFIX}supervisor-{os.getpid()}"
        try:
            aside.mkdir(exist_ok=True)
        except OSError:
            return None
        if _write(aside / "cgroup.procs", str(os.getpid())):
            if _write(folder / "cgroup.subtree_control", "+memory"):
                return groups
            _write(folder / "cgroup.procs", str(os.getpid()))
        _remove(aside)
        return None

    def enclose(self, pid: int) -> Group | None:
        """Put a process that has just started into a group of its own."""
        self.sweep()
        self._made += 1
        folder = self._folder / f"{_PREFIX}executor-{os.getpid()}-{self._made}"
        try:
            folder.mkdir()
        except OSError as error:
            logger.warning("no control group could be made, its memory is measured: %s", error)
            return None
        _write(folder / "memory.oom.group", "1")
        _write(folder / "memory.swap.max", "0")
        if not _write(folder / "cgroup.procs", str(pid)):
            _remove(folder)
            return None
        return Group(folder)

    def sweep(self) -> None:
        """Remove the groups in which no process is left, also of supervisors that were killed."""
        for folder in self._folder.glob(f"{_PREFIX}*"):
            if not _words(folder / "cgroup.procs"):
                _remove(folder)


def _own(root: Path, membership: Path) -> Path | None:
    """Return the folder of the group of cgroup v2 that this process is in."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    path = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    return None if path is None else root / path.strip("/")


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _write(file: Path, text: str) -> bool:
    """Write a file of the kernel, which is there or is not; say whether it took the text."""
    try:
        at = os.open(file, os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(at, text.encode())
    except OSError:
        return False
    finally:
        os.close(at)
    return True


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError):  # busy: the next sweep finds it
        folder.rmdir()
