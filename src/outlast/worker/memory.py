"""How much memory executors use, with the processes that they started."""

import os
from collections.abc import Collection
from pathlib import Path

_PROCESSES = Path("/proc")
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_KILOBYTE = 1024
_GROUP = 2  # in /proc/<pid>/stat, counted from behind the name


def resident(pid: int) -> int:
    """Return the resident bytes of a process, 0 where they cannot be read."""
    try:
        file = os.open(f"/proc/{pid}/statm", os.O_RDONLY)  # after every run: no file object
        try:
            return int(os.read(file, 256).split()[1]) * _PAGE
        finally:
            os.close(file)
    except (OSError, IndexError, ValueError):
        return 0


def of_groups(groups: Collection[int]) -> dict[int, int]:
    """Return the proportional bytes of process groups; pages that are shared count in parts.

    Nothing where there is no `/proc`: there no limit is kept.
    """
    used = dict.fromkeys(groups, 0)
    if not (groups and _PROCESSES.is_dir()):
        return {}
    for folder in _PROCESSES.iterdir():
        if folder.name.isdigit() and (group := _group(folder)) in used:
            used[group] += _proportional(folder)
    return used


def _group(folder: Path) -> int:
    try:
        stat = (folder / "stat").read_text(errors="replace")
    except OSError:  # it is gone
        return 0
    return int(stat.rpartition(")")[2].split()[_GROUP])


def _proportional(folder: Path) -> int:
    try:
        lines = (folder / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    sizes = (line.split()[1] for line in lines if line.startswith(("Pss:", "SwapPss:")))
    return sum(map(int, sizes)) * _KILOBYTE
